"""What was prepared for a module is used again, but only where preparing anew would come to the same."""

import copy
import gc
import weakref

import pytest

import bitquake as bq

torch = pytest.importorskip("torch")

from networks import same_words, small_cnn, words  # noqa: E402
from torch import nn  # noqa: E402


def forget():
    from bitquake import _kept

    _kept._kept.clear()


def is_kept(module, fault=0.02, **options):
    """Whether a block finds what it needs without looking through the module."""
    from bitquake import weights

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "_prepared", lambda *_: 1 / 0)
        try:
            bq.faulty(module, fault, **options)
        except ZeroDivisionError:
            return False
    return True


def outcome(module, fault=0.02, **options):
    """The flips of a block, and the words inside; or the error."""
    try:
        with bq.faulty(module, fault, seed=1, **options) as pattern:
            return pattern, pattern.columns(), words(module)
    except (bq.UsageError, bq.UnsupportedError) as error:
        return str(error)


def same_outcome(a, b):
    if isinstance(a, str) or isinstance(b, str):
        return a == b
    return a[0] == b[0] and a[1] == b[1] and a[2].keys() == b[2].keys() and all(torch.equal(a[2][name], b[2][name]) for name in a[2])


def half(module):
    module.half()


def replace(module):
    module[6].weight = nn.Parameter(torch.ones(4, 64))


def move(module):
    module[0].weight.data = module[0].weight.data.clone()


def turn(module):
    module[6].weight.data = module[6].weight.data.view(128, 4)


def transpose(module):
    module[6].weight.data = module[6].weight.data.view(128, 4).T


def other_words(module):
    module[1].running_mean.data = module[1].running_mean.data.view(torch.int32)


def expand(module):
    module[1].running_mean.data = module[1].running_mean.data[:1].expand(len(module[1].running_mean))


def no_bias(module):
    module[0].bias = None


def new_part(module):
    module.append(nn.Linear(4, 4))


def fewer_parts(module):
    del module[6]


def other_part(module):
    module[6] = nn.Linear(128, 4)


def deeper(module):
    module[6] = nn.Sequential(module[6])


def renamed(module):
    module._modules["last"] = module._modules.pop("6")


def renamed_bias(module):
    module[6]._parameters["shift"] = module[6]._parameters.pop("bias")


def bias_of_the_next(module):
    module[2]._parameters["bias"] = module[1]._parameters.pop("bias")  # the same keys, tensors and order


def fewer_rows(module):
    module[6].weight.data = module[6].weight.data[:2]


class Other(nn.Linear):
    pass


def other_class(module):
    module[6].__class__ = Other


class OtherParameter(nn.Parameter):
    pass


def other_class_of_a_tensor(module):
    module[6].weight.__class__ = OtherParameter


def train(module):
    module[1].train()


def train_all(module):
    module.train()


def passing(module):
    module[1].register_buffer("running_var", module[1].running_var, persistent=False)


def new_buffer(module):
    module[0].register_buffer("table", torch.ones(3, 3))


def tied(module):
    module[0].other = module[0].weight


def tied_memory(module):
    module[6].other = nn.Parameter(module[6].weight.data)


def parametrized(module):
    nn.utils.parametrize.register_parametrization(module[6], "weight", nn.Tanh())


def lost(module):
    module[2] = None


CHANGES = [
    half, replace, move, turn, transpose, other_words, expand, no_bias, new_part, fewer_parts, other_part, deeper, renamed, train, train_all, passing, new_buffer,
    tied, tied_memory, parametrized, lost, renamed_bias, bias_of_the_next, fewer_rows, other_class,
    other_class_of_a_tensor,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("select", [None, "*.weight", "*running_*"])
def test_whatever_has_changed_is_seen(change, select):
    module = small_cnn()
    assert not isinstance(outcome(module, select=select), str) and is_kept(module, select=select)
    change(module)
    assert not is_kept(module, select=select)
    before = words(module)
    found = outcome(module, select=select)
    forget()
    assert same_outcome(found, outcome(module, select=select)) and same_words(before, module)


def test_what_has_not_changed_is_not_looked_through_again():
    module = small_cnn()
    wanted = outcome(module)
    assert is_kept(module) and same_outcome(outcome(module), wanted)
    with torch.no_grad():
        module[0].weight += 1  # other values in the same place
    found = outcome(module)
    forget()
    assert found[0] == wanted[0] and not is_kept(module) and same_outcome(found, outcome(module))
    copied = copy.deepcopy(module)
    assert not is_kept(copied) and same_outcome(outcome(copied), found)


def test_each_request_is_one_of_its_own():
    module = small_cnn()
    requests = [
        dict(fault=0.02), dict(fault=0.01), dict(fault=bq.Fault(rate=0.02)), dict(fault=bq.Fault(count=5)), dict(fault=bq.Fault(rate=0.02, bits="sign")),
        dict(select="6.*"), dict(select=["*", "!6.*"]), dict(types=nn.Linear), dict(types=(nn.Linear, nn.Conv2d)), dict(fault=bq.Fault(count=3, select=["0.*"])),
    ]  # fmt: skip
    outcomes = []
    for request in requests:
        forget()
        outcomes.append(outcome(module, **request))
    for _ in range(2):
        for request, wanted in zip(requests, outcomes):
            assert same_outcome(outcome(module, **request), wanted) and is_kept(module, **request)
    assert is_kept(module, **requests[-4]) and not is_kept(module, **requests[0]), "the last four are kept"
    assert is_kept(module, dict(count=3, select=["0.*"])) and is_kept(module, select=("6.*",)) is False
    with pytest.raises(bq.UsageError, match="a fault is"):
        outcome(module, 1.0), bq.faulty(module, True)
    assert same_outcome(outcome(module, nonfinite="zero"), outcome(module, nonfinite="zero")) and outcome(module, nonfinite="zero")[0].flips > 0


def test_what_is_kept_keeps_no_module_and_no_memory():
    module = small_cnn()
    module[0].whole = [module]  # as trainers and closures do
    outcome(module), outcome(module)
    watched = weakref.ref(module), weakref.ref(module[6])
    part, place = module[6], weakref.ref(module[6].weight)
    module[6] = nn.Linear(128, 4)
    del part
    gc.collect()
    assert watched[0]() is module and watched[1]() is None and place() is None
    del module
    gc.collect()
    assert watched[0]() is None


def test_what_is_not_kept():
    class Counted(type):
        def __instancecheck__(cls, part):
            return type(part) is nn.Linear

    class Chosen(metaclass=Counted):
        pass

    class Other(nn.Module):
        def __init__(self):
            super().__init__()
            self.inside = nn.Linear(4, 4)

        def named_modules(self, memo=None, prefix="", remove_duplicate=True):
            yield prefix, self
            yield "own", self.inside

    for module, options in ((small_cnn(), dict(types=Chosen)), (Other(), {})):
        wanted = outcome(module, 0.2, **options)
        assert not is_kept(module, 0.2, **options) and same_outcome(outcome(module, 0.2, **options), wanted) and wanted[0].flips > 0
    module = small_cnn()
    outcome(module)
    module.add_module("again", module)  # a module that holds itself has no end
    with pytest.raises(RecursionError):
        bq.faulty(module, 0.1)


def test_a_block_made_before_a_change_is_refused_after_it():
    module = small_cnn()
    outcome(module)
    block = bq.faulty(module, 0.02)
    module.train()
    with pytest.raises(bq.UsageError, match="`1.running_mean` is updated in training mode"):
        block.__enter__()
    module.eval()
    block = bq.faulty(module, 0.02)
    module[6].weight = nn.Parameter(torch.ones(4, 128))
    with pytest.raises(bq.UsageError, match="`6.weight` was moved or replaced since"):
        block.__enter__()
