"""Small networks that several tests use."""

import torch
from torch import nn


class TinyOutput(dict):
    """What Hugging Face models give: a dict whose entries are attributes too."""

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class TinyBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x):
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return {"hidden": x + self.mlp(self.norm2(x)), "note": "not a tensor"}


class TinyTransformer(nn.Module):
    """In the style of Hugging Face: keyword arguments, a dict as output, the embedding tied to the head."""

    def __init__(self, words=50, width=16, blocks=2):
        super().__init__()
        self.embed = nn.Embedding(words, width)
        self.blocks = nn.ModuleList(TinyBlock(width) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, words, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("position_ids", torch.arange(32))
        self.register_buffer("scratch", torch.zeros(3), persistent=False)

    def forward(self, input_ids, labels=None):
        x = self.embed(input_ids)
        for block in self.blocks:
            x = block(x)["hidden"]
        logits = self.head(self.norm(x))
        loss = None if labels is None else nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        return TinyOutput(loss=loss, logits=logits)


def small_cnn():
    """Convolutions, batch norms and an activation in place."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Dropout(0.5), nn.Flatten(), nn.Linear(128, 4)
    ).eval()  # fmt: skip


def words(module):
    """Everything a module holds, as bytes."""
    return {name: tensor.detach().reshape(-1).contiguous().view(torch.uint8).clone() for name, tensor in module.state_dict().items() if tensor.numel()}


def same_words(before, module):
    after = words(module)
    return before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
