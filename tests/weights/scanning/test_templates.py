"""Templates: reaching into Python in all known ways, and texts that never end; ordinary chats pass."""

import pytest

from transfuse.weights.scanning.settings.templates import template

HOSTILE = [
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''['__class__'] }}",
    "{{ ''['\\x5f\\x5fclass\\x5f\\x5f'] }}",
    "{{ ''['_' ~ '_class_' ~ '_'] }}",
    "{{ ''[['__cla', 'ss__'] | join] }}",
    "{{ ''['%c%cclass' | format(95, 95)] }}",
    "{{ ''['ssalc' | reverse] }}",
    "{{ '' | attr('__class__') }}",
    "{{ '' | attr(x) }}",
    "{{ [''] | map('attr', '__class__') | list }}",
    "{{ [''] | map(attribute='__class__') | list }}",
    "{{ [''] | map(attribute=name) | list }}",
    "{{ '{0.__class__}'.format('') }}",
    "{{ '{0[__class__]}'.format('') }}",
    "{% set a = '__class__' %}{{ ''[a] }}",
    "{{ self._TemplateReference__context }}",
    "{{ joiner.mro() }}",
    "{{ f.gi_frame.f_globals }}",
    "{{ __builtins__['eval']('1') }}",
    "{{ getattr('', x) }}",
    "{{ os.popen('id') }}",
    "{% include '/etc/passwd' %}",
    "{% import 'x' as y %}",
    "{% from 'x' import y %}",
    "{% extends 'x' %}",
    "{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}",
    "{% set n = 99999 %}{% for i in range(n) %}{% for j in range(n) %}x{% endfor %}{% endfor %}",
    "{% macro m() %}{% for i in range(99999) %}x{% endfor %}{% endmacro %}{% for i in range(999) %}{{ m() }}"
    "{% endfor %}",
    "{% for i in range(10**9) %}x{% endfor %}",
    "{{ 'x' * 10**9 }}",
    "{{ 'x' * 999999999 }}",
    "{{ 9 ** 9 ** 9 }}",
    "{{ '%999999999d' % 1 }}",
    "{{ '{:>999999999}'.format(1) }}",
    "{{ 'x' | center(999999999) }}",
    "{{ 'x' | indent(width=999999999) }}",
    "{{ lipsum(n=1000) }}",
    "{% set ns = namespace(x='a') %}{% for i in messages %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "{% set a = 'x' %}" + "{% set a = a ~ a %}" * 40,
    "{% set a = 'x' %}" + "".join(f"{{% set {chr(98 + i)} = {chr(97 + i)} * 1 ~ {chr(97 + i)} %}}" for i in range(20)),
    "{% if %}",
    "{% unknown %}",
    "{{ (((((" * 2000,
    "{% if a %}" * 2000 + "{% endif %}" * 2000,
    "x" * (2**20 + 1),
]
ORDINARY = [
    "",
    "plain text about __init__ and os.system",
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}",
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% endif %}",
    "{% for m in loop_messages %}{{ bos_token + '[INST] ' + m['content'].strip() + ' [/INST]' }}{% endfor %}",
    "{% set ns = namespace(is_first=false, tools=[]) %}{% for m in messages %}{% set ns.is_first = true %}{% endfor %}",
    "{% set ns = namespace(text='') %}{% for m in messages %}{% set ns.text = ns.text ~ m.content %}{% endfor %}",
    "{% macro kind(p) %}{% for k, v in p.items() %}{{ k ~ kind(v) }}{% endfor %}{% endmacro %}{{ kind(tools) }}",
    "{{ tools | selectattr('type', 'equalto', 'function') | map(attribute='function') | map('tojson', indent=4)"
    "| join(',') }}",
    "{{ raise_exception('roles must alternate user/assistant') }}{{ strftime_now('%d %b %Y') }}",
    "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% if loop.last %}{% break %}{% endif %}"
    "{% endfor %}",
    "{{ message.content.split('</think>')[-1].lstrip('\\n') }}{{ '-' * 40 }}{% for i in range(10) %}{{ i }}"
    "{% endfor %}",
    "{{ x[key] }}{{ messages[loop.index0 - 1].role }}{{ message['tool_' ~ 'calls'] if false }}",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_templates_are_refused(text: str) -> None:
    from transfuse.weights.scanning.findings import Refused

    try:
        findings = list(template(text))
    except Refused as refusal:
        findings = [refusal.finding]
    assert findings and all(finding.verdict == "reject" and finding.advice for finding in findings)


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_templates_pass(text: str) -> None:
    assert list(template(text)) == []
