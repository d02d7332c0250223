"""Values and gradients of every loss equal those of the papers' reference code, and stay finite where those do not.

The figures were made in float64 with mdistiller (a08d46f), RepDistiller (b84f547), logit-standardization-KD (f6e5aa5),
DIST's and SimKD's own code, TRL (f2cd577) and, for MGD and OFA, the authors' repositories.
"""

from math import prod

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from transfuse.distilling.losses.at import at
from transfuse.distilling.losses.cc import congruence
from transfuse.distilling.losses.crd import CRD
from transfuse.distilling.losses.ctkd import CTKD
from transfuse.distilling.losses.dist import dist
from transfuse.distilling.losses.dkd import dkd
from transfuse.distilling.losses.fitnet import FitNet, regressor
from transfuse.distilling.losses.gkd import gkd
from transfuse.distilling.losses.kd import kd
from transfuse.distilling.losses.logit_std import logit_std, standardised
from transfuse.distilling.losses.mgd import MGD
from transfuse.distilling.losses.nst import nst
from transfuse.distilling.losses.ofa import ofa
from transfuse.distilling.losses.pkt import pkt
from transfuse.distilling.losses.rkd import rkd
from transfuse.distilling.losses.simkd import simkd
from transfuse.distilling.losses.sizes import pooled
from transfuse.distilling.losses.sp import sp
from transfuse.sources.projected import projector

CLOSE = {"rtol": 0, "atol": 1e-12}


def float64(values: object) -> Tensor:
    """Of nested lists."""
    return torch.tensor(values, dtype=torch.float64)


def made(shape: tuple[int, ...], a: int, b: int, m: int) -> Tensor:
    """The recipe of the reference's inputs: (((a·i + b) mod m) − m // 2) / 10 in C order."""
    return ((a * torch.arange(prod(shape)) + b) % m - m // 2).double().view(*shape) / 10


LOGITS = float64(
    [[1.2, -0.3, 0.5, 2.0, -1.1], [0.1, 0.4, -0.7, 1.3, 0.9], [-2.0, 0.6, 1.5, 0.2, -0.4], [3.0, 2.5, -1.0, 0.0, 0.7]]
)
TEACHER = float64(
    [[2.5, -1.0, 0.3, 4.0, -2.2], [0.0, 3.1, -0.5, 0.8, 1.9], [-1.5, 0.9, 4.2, -0.3, 0.1], [5.0, 1.0, -2.0, 0.5, 1.5]]
)
Y = torch.tensor([3, 1, 2, 1])
F_S, F_T, F_T_SMALL = made((3, 2, 4, 4), 7, 3, 23), made((3, 4, 4, 4), 11, 5, 29), made((3, 4, 2, 2), 5, 2, 17)
E_S, E_T = made((4, 3), 7, 1, 19), made((4, 5), 9, 4, 31)
ON_LOGITS = [
    (
        lambda logits, teacher: kd(logits, teacher, temperature=1),
        0.42949516874548394,
        [0.01740592569234408, 0.08245953712526483, 0.0070033824949728785],
    ),
    (
        lambda logits, teacher: kd(logits, teacher, temperature=2),
        0.7296930741502932,
        [-0.008989963190205522, 0.0776503271328755, 0.004375333972033657],
    ),
    (
        lambda logits, teacher: kd(logits, teacher, temperature=4),
        0.7865230445326471,
        [-0.03415313980945428, 0.06940592728357009, -0.011308642327135104],
    ),
    (
        lambda logits, teacher: dkd(logits, teacher, Y, alpha=1, beta=8, temperature=4),
        2.9815190401894136,
        [-0.8512065114495729, 0.42251637496388134, 0.10701254755207401],
    ),
    (
        lambda logits, teacher: dkd(logits, teacher, Y, alpha=1, beta=2, temperature=4),
        1.1747234969519278,
        [-0.18758387367351773, 0.1328987178175862, 0.007876313396368066],
    ),
    (
        lambda logits, teacher: dkd(logits, teacher, Y, alpha=1, beta=0.5, temperature=1),
        0.4572276338739235,
        [-0.006259410508913772, 0.09419846389478774, 0.0001441127659986708],
    ),
    (
        lambda logits, teacher: dkd(logits, teacher, Y, alpha=1, beta=1, temperature=4),
        0.8735909064123468,
        [-0.07698010071084185, 0.08462910829320366, -0.00864639229624959],
    ),
    (
        lambda logits, teacher: dkd(logits, teacher, Y, alpha=1, beta=0, temperature=4),
        0.5724583158727659,
        [0.033623672251834026, 0.03635949876882113, -0.025169097988867246],
    ),
    (
        lambda logits, teacher: dkd(logits, teacher, Y, alpha=0, beta=1, temperature=4),
        0.30113259053958097,
        [-0.11060377296267587, 0.04826960952438253, 0.016522705692617656],
    ),
    (
        lambda logits, teacher: dist(logits, teacher, beta=1, gamma=1, temperature=1),
        0.6043325079244618,
        [0.050840645619581674, 0.1879620160697797, -0.006243315052390269],
    ),
    (
        lambda logits, teacher: dist(logits, teacher, beta=1, gamma=0, temperature=1),
        0.3192594470546928,
        [0.02036028068234038, 0.0803860966743202, -0.0011376568320494585],
    ),
    (
        lambda logits, teacher: dist(logits, teacher, beta=0, gamma=1, temperature=1),
        0.285073060869769,
        [0.030480364937241294, 0.1075759193954595, -0.005105658220340809],
    ),
    (
        lambda logits, teacher: dist(logits, teacher, beta=1, gamma=1, temperature=4),
        8.093051497234889,
        [-0.046205850913143436, 2.0622588656365415, -0.5165510162097274],
    ),
    (
        lambda logits, teacher: dist(logits, teacher, beta=2, gamma=2, temperature=1),
        1.2086650158489236,
        [0.10168129123916335, 0.3759240321395594, -0.012486630104780539],
    ),
    (
        lambda logits, teacher: logit_std(logits, teacher, temperature=2),
        0.18162784109981153,
        [-0.004238633099928982, 0.06514453904053531, -0.007540696756998423],
    ),
    (
        lambda logits, teacher: logit_std(logits, teacher, temperature=3),
        0.17586811383582354,
        [-0.004298881225305088, 0.06090015180608109, -0.008123156613569018],
    ),
    (
        lambda logits, teacher: logit_std(logits, teacher, temperature=4),
        0.17217654653695935,
        [-0.004297648881093559, 0.058373500079198615, -0.008334597250828312],
    ),
    (
        lambda logits, teacher: dkd(standardised(logits), standardised(teacher), Y, temperature=2),
        0.711588058307344,
        [-0.06405824456166473, 0.4495371360978271, -0.01977718929757751],
    ),
]
ON_MAPS = [
    (
        lambda x: at([x], [F_T]),
        F_S,
        0.04671850978255108,
        0.01868783640606849,
        [-0.001653918293888122, 0.00011670292431033019, -0.004114274536281658, -0.00406235553969398],
    ),
    (
        lambda x: at([x], [F_T_SMALL]),
        F_S,
        0.0638868925425816,
        0.15302136691092244,
        [-0.010221339776981553, -0.010221339776981553, -0.002474959274284075, -0.002474959274284075],
    ),
    (
        lambda x: at([x], [F_T]),
        F_T_SMALL[:, :2],
        0.07295046826466267,
        0.12659183325843598,
        [-0.013066893646864247, 0.012044040223197059, 0.022172023196702213, 0.03578219129725011],
    ),
    (
        lambda x: sp(x, F_T),
        F_S,
        0.0006222885217443993,
        0.00716227628013012,
        [0.0011648758881383486, -0.0010974973297182547, 7.273789141677006e-05, 0.0009641445287875094],
    ),
    (
        lambda x: sp(x, E_T),
        E_S,
        0.35882390692806265,
        0.12921930651078636,
        [0.037714814527577405, 0.022645348953952774, 0.020366588534644098, -0.02356942784324452],
    ),
    (
        lambda x: rkd(x, E_T),
        E_S,
        8.779543824138445,
        12.830527725025783,
        [5.206363377362324, 5.206363377362324, -1.210664763661736, -4.951397283842922],
    ),
    (
        lambda x: pkt(x, E_T),
        E_S,
        0.06409043311502517,
        0.0928518398215768,
        [0.01755834673818651, -0.00603960087223141, 0.02240453180526656, 0.023744330943258413],
    ),
    (
        lambda x: congruence(x, E_T[:, :3]),
        E_S,
        1.9933333333333334,
        1.5730366951995889,
        [0.29999999999999993, 0.3666666666666666, -0.6, -0.43333333333333324],
    ),
]


@pytest.mark.parametrize(("loss", "value", "gradients"), ON_LOGITS)
def test_losses_of_logits(loss, value, gradients):
    logits = LOGITS.clone().requires_grad_()
    found = loss(logits, TEACHER)
    found.backward()
    torch.testing.assert_close(found.detach(), float64(value), **CLOSE)
    torch.testing.assert_close(logits.grad.flatten()[[0, 8, 19]], float64(gradients), **CLOSE)


@pytest.mark.parametrize(("loss", "start", "value", "norm", "gradients"), ON_MAPS)
def test_losses_of_maps_and_features(loss, start, value, norm, gradients):
    x = start.clone().requires_grad_()
    found = loss(x)
    found.backward()
    torch.testing.assert_close(found.detach(), float64(value), **CLOSE)
    torch.testing.assert_close(x.grad.norm(), float64(norm), **CLOSE)
    torch.testing.assert_close(x.grad.flatten()[:4], float64(gradients), **CLOSE)


def test_the_gradient_of_kd_is_the_difference_of_the_softened_answers():
    logits = LOGITS.clone().requires_grad_()
    kd(logits, TEACHER, temperature=3.0).backward()
    expected = 3 * ((LOGITS / 3).softmax(1) - (TEACHER / 3).softmax(1)) / 4
    torch.testing.assert_close(logits.grad, expected, **CLOSE)


def test_kd_by_hand():
    found = kd(float64([[0, 0]]), float64([[1.0986122886681098, 0]]), temperature=1.0)
    torch.testing.assert_close(found, float64(0.1308120359411369), **CLOSE)


def test_dkd_rises_over_the_first_twelfth_of_the_training():
    half, whole = (dkd(LOGITS, TEACHER, Y, share) for share in (1 / 24, 1.0))
    torch.testing.assert_close(2 * half, whole)
    assert dkd(LOGITS, TEACHER, Y, 0.0) == 0


EXTREME = torch.tensor([[60.0, -60.0, 0.0], [0.0, 0.0, 0.0]])
EXTREME_TEACHER = torch.tensor([[-60.0, 60.0, 0.0], [100.0, 0.0, -100.0]])


@pytest.mark.parametrize(
    ("loss", "value"),
    [
        (lambda z: kd(z, EXTREME_TEACHER, temperature=1.0), 60.549306144334054),
        (lambda z: kd(z, EXTREME_TEACHER), 248.78882488987685),
        (lambda z: dkd(z, EXTREME_TEACHER, torch.tensor([1, 0])), 1253.149620381995),
        (lambda z: dist(z, EXTREME_TEACHER), 2.916666632916668),
        (lambda z: logit_std(z, EXTREME_TEACHER), 0.7971552371959889),
    ],
)
def test_extreme_logits_stay_finite_in_float32(loss, value):
    logits = EXTREME.clone().requires_grad_()
    found = loss(logits)
    found.backward()
    assert found.item() == pytest.approx(value, rel=1e-5)
    assert logits.grad.isfinite().all()


def test_dkd_is_finite_where_the_reference_is_infinite():
    logits = torch.tensor([[200.0, 0, 0, 0, 0]]).repeat(4, 1).requires_grad_()
    found = dkd(logits, TEACHER.float(), Y, temperature=1.0)
    found.backward()
    assert found.item() == pytest.approx(926.09619140625, rel=1e-6)
    assert logits.grad.isfinite().all()


def test_every_loss_of_logits_is_finite_on_logits_of_a_thousand():
    logits = (1000 * LOGITS.float()).requires_grad_()
    for loss in (kd, dist, logit_std, gkd, CTKD()):
        loss(logits, -1000 * TEACHER.float()).backward()
    ofa(logits, -1000 * TEACHER.float(), Y).backward()
    assert logits.grad.isfinite().all()


def test_ctkd_climbs_by_its_temperature():
    loss = CTKD().double()
    found = loss.at(LOGITS, TEACHER, -0.5)
    found.backward()
    torch.testing.assert_close(found.detach(), float64(0.7205265088677424), **CLOSE)
    torch.testing.assert_close(loss.theta.grad, float64([0.004655055146233829]), **CLOSE)


GKD_S = float64(
    [
        [[-0.8, -0.1, 0.6, -1.0, -0.3], [0.4, 1.1, -0.5, 0.2, 0.9], [-0.7, 0.0, 0.7, -0.9, -0.2]],
        [[0.5, -1.1, -0.4, 0.3, 1.0], [-0.6, 0.1, 0.8, -0.8, -0.1], [0.6, -1.0, -0.3, 0.4, 1.1]],
    ]
)
GKD_T = float64(
    [
        [[-0.9, 0.2, 1.3, -0.5, 0.6], [-1.2, -0.1, 1.0, -0.8, 0.3], [1.4, -0.4, 0.7, -1.1, 0.0]],
        [[1.1, -0.7, 0.4, -1.4, -0.3], [0.8, -1.0, 0.1, 1.2, -0.6], [0.5, -1.3, -0.2, 0.9, -0.9]],
    ]
)
GKD_Y = torch.tensor([[-100, 1, 2], [0, -100, 4]])


@pytest.mark.parametrize(
    ("beta", "temperature", "value"),
    [
        (0, 1, 0.47441663775526316),
        (0.1, 1, 0.04096261460808433),
        (0.5, 1, 0.10634699233757192),
        (0.9, 1, 0.03942127679366307),
        (1, 1, 0.44953015959606957),
        (0.5, 2, 0.02954977355636806),
    ],
)
def test_gkd_of_sequences(beta, temperature, value):
    found = gkd(GKD_S, GKD_T, GKD_Y, beta=beta, temperature=temperature)
    torch.testing.assert_close(found, float64(value), **CLOSE)


def test_fitnet_regresses_and_learns():
    loss = FitNet((2, 4, 4), (4, 4, 4)).double()
    with torch.no_grad():
        loss.regress[0].weight.copy_(
            float64([[[[-0.4]], [[-0.1]]], [[[0.2]], [[0.5]]], [[[-0.3]], [[0.0]]], [[[0.3]], [[-0.5]]]])
        )
        loss.regress[0].bias.copy_(float64([0.1, -0.2, 0.3, 0.0]))
    x = F_S.clone().requires_grad_()
    found = loss(x, F_T)
    found.backward()
    torch.testing.assert_close(found.detach(), float64(1.053232293611334), **CLOSE)
    torch.testing.assert_close(x.grad.norm(), float64(0.14763551323843435), **CLOSE)


@pytest.mark.parametrize(
    ("sizes", "kernel"), [((8, 4), (3, 3)), ((4, 8), (4, 4)), ((7, 4), (4, 4)), ((4, 4), (1, 1)), ((14, 3), (1, 1))]
)
def test_the_regressor_leads_from_one_size_to_the_other(sizes, kernel):
    student, teacher = sizes
    found = regressor((2, student, student), (4, teacher, teacher))
    assert found.kernel_size == kernel
    loss = FitNet((2, student, student), (4, teacher, teacher))
    assert loss(torch.randn(2, 2, student, student), torch.randn(2, 4, teacher, teacher)).isfinite()


def test_nst_is_the_discrepancy_of_the_reference_broadcast():
    s, t = (F.normalize(m.flatten(2), dim=2) for m in (F_S, F_T))

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a.unsqueeze(1) * b.unsqueeze(2)).sum(-1).pow(2).mean()

    expected = kernel(t, t) + kernel(s, s) - 2 * kernel(s, t)
    torch.testing.assert_close(nst([F_S], [F_T]), expected, **CLOSE)
    torch.testing.assert_close(nst([F_S[:, [1, 0]]], [F_S]), float64(0.0), **CLOSE)  # whichever channel it is


def contrast() -> CRD:
    loss = CRD(3, 5, 6, negatives=2, size=4).double()
    with torch.no_grad():
        loss.embed_s.linear.weight.copy_(
            float64([[-0.4, -0.1, 0.2], [0.5, -0.3, 0.0], [0.3, -0.5, -0.2], [0.1, 0.4, -0.4]])
        )
        loss.embed_s.linear.bias.copy_(float64([0.1, -0.1, 0.2, 0.0]))
        loss.embed_t.linear.weight.copy_(
            float64(
                [
                    [-0.4, 0.1, 0.6, -0.2, 0.3],
                    [-0.5, 0.0, 0.5, -0.3, 0.2],
                    [-0.6, -0.1, 0.4, -0.4, 0.1],
                    [0.6, -0.2, 0.3, -0.5, 0.0],
                ]
            )
        )
        loss.embed_t.linear.bias.copy_(float64([0.0, 0.1, 0.0, -0.2]))
        loss.memory_s_NK.copy_(
            float64(
                [
                    [-0.5855400437691198, 0.09759000729485331, 0.7807200583588265, -0.19518001458970663],
                    [0.46028730894916164, -0.46028730894916164, 0.18411492357966466, -0.7364596943186587],
                    [-0.1270001270001905, 0.762000762001143, -0.508000508000762, 0.3810003810005715],
                    [-0.6767155423319645, 0.0, 0.6767155423319645, -0.29002094671369905],
                    [0.3698001308168194, -0.554700196225229, 0.09245003270420485, 0.7396002616336388],
                    [-0.2626128657194451, 0.6565321642986127, -0.6565321642986127, 0.2626128657194451],
                ]
            )
        )
        loss.memory_t_NK.copy_(
            float64(
                [
                    [-0.518321055348816, -0.08638684255813601, 0.34554737023254406, 0.777481583023224],
                    [-0.43685202833051895, 0.0, 0.43685202833051895, -0.7863336509949341],
                    [-0.3698001308168194, 0.09245003270420485, 0.554700196225229, -0.7396002616336388],
                    [-0.2847473987257497, 0.18983159915049982, 0.6644105970267493, -0.6644105970267493],
                    [-0.18814417367671946, 0.28221626051507914, 0.7525766947068778, -0.5644325210301583],
                    [-0.09016696346674324, 0.360667853866973, 0.8115026712006891, -0.45083481733371616],
                ]
            )
        )
    return loss


def test_crd_contrasts_and_remembers():
    loss, drawn = contrast(), torch.tensor([[1, 0, 3], [4, 2, 5]])
    x, t = E_S[:2].clone().requires_grad_(), E_T[:2]
    found = loss.contrasted(x, t, drawn)
    found.backward()
    torch.testing.assert_close(found.detach(), float64(9.069693619837166), **CLOSE)
    torch.testing.assert_close(
        x.grad,
        float64(
            [
                [0.13516261191332765, -0.3405034750804527, -0.11521310415097372],
                [-1.2934343095581506, 3.6244961303166203, -0.4954854964607805],
            ]
        ),
        **CLOSE,
    )
    torch.testing.assert_close(loss.z_2, float64([1.4725533987127102, 109.8251004007728]), **CLOSE)
    torch.testing.assert_close(
        loss.memory_t_NK[4],
        float64([-0.4425597926863006, -0.08726930080188708, 0.09535245778796606, -0.8873741081577728]),
        **CLOSE,
    )
    again = loss.contrasted(x, t, drawn).detach()
    torch.testing.assert_close(again, float64(6.182189105927549), **CLOSE)


@pytest.mark.parametrize(("teacher", "value"), [(F_T, 1.1119229995360496), (F_T_SMALL, 0.8366671242692556)])
def test_simkd_projects(teacher, value):
    project = projector(2, 4, 2).double()
    weights = (
        [[[[-0.30000000000000004]], [[0.0]]], [[[0.30000000000000004]], [[0.6]]]],
        [
            [
                [[-0.4, 0.1, 0.6], [-0.2, 0.3, -0.5], [0.0, 0.5, -0.3]],
                [[0.2, -0.6, -0.1], [0.4, -0.4, 0.1], [0.6, -0.2, 0.3]],
            ],
            [
                [[-0.5, 0.0, 0.5], [-0.3, 0.2, -0.6], [-0.1, 0.4, -0.4]],
                [[0.1, 0.6, -0.2], [0.3, -0.5, 0.0], [0.5, -0.3, 0.2]],
            ],
        ],
        [[[[-0.2]], [[0.5]]], [[[0.1]], [[-0.3]]], [[[0.4]], [[0.0]]], [[[-0.4]], [[0.3]]]],
    )
    with torch.no_grad():
        for place, weight in zip((0, 3, 6), weights, strict=True):
            project[place].weight.copy_(float64(weight))
    found = simkd(project(pooled(F_S, tuple(teacher.shape[2:]))), teacher)
    torch.testing.assert_close(found.detach(), float64(value), **CLOSE)


def test_mgd_makes_the_map_from_what_is_left():
    loss = MGD((2, 4, 4), (4, 4, 4)).double()
    with torch.no_grad():
        for layer, (a, b, m) in (
            (loss.align, (3, 1, 11)),
            (loss.generate[0], (5, 2, 13)),
            (loss.generate[2], (7, 3, 11)),
        ):
            layer.weight.copy_(made(tuple(layer.weight.shape), a, b, m))
            layer.bias.zero_()
    random = float64(
        [
            [[0.0], [0.4166666666666667], [0.8333333333333334], [0.25]],
            [[0.6666666666666666], [0.08333333333333333], [0.5], [0.9166666666666666]],
            [[0.3333333333333333], [0.75], [0.16666666666666666], [0.5833333333333334]],
        ]
    )[..., None]
    torch.testing.assert_close(loss.made(F_S, F_T, random).detach(), float64(114.39638604333334), **CLOSE)


@pytest.mark.parametrize(("epsilon", "value"), [(1.0, 0.9655170324185182), (1.5, 1.222044309738838)])
def test_ofa_sharpens_what_is_true(epsilon, value):
    torch.testing.assert_close(ofa(LOGITS, TEACHER, Y, epsilon=epsilon), float64(value), **CLOSE)


def test_one_example_has_no_relations():
    x = E_S[:1].clone().requires_grad_()
    total = rkd(x, E_T[:1]) + congruence(x, E_T[:1, :3]) + sp(x, E_T[:1]) + dist(x, E_T[:1, :3])
    total.backward()
    assert total.isfinite()
    assert x.grad.isfinite().all()


def test_equal_examples_have_finite_gradients():
    x = torch.ones(4, 3).requires_grad_()
    zeros = torch.zeros(3, 2, 4, 4).requires_grad_()
    (rkd(x, E_T.float()) + pkt(x, E_T.float()) + at([zeros], [F_T.float()]) + sp(zeros, F_T.float())).backward()
    assert x.grad.isfinite().all()
    assert zeros.grad.isfinite().all()
