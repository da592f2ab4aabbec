"""A ViT's last layer, computed for the one token that its classifier reads.

The classifier of a ViT sees the class token alone, and after the last attention no token sees another. So in the last
layer queries, projection and MLP of the other 196 tokens are work for nothing: 7 % of a ViT-B/16. Keys and values stay.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from transformers import PreTrainedModel, ViTForImageClassification

TOLERANCE = 1e-5
"""Largest difference of a logit, relative to the largest, that is taken for rounding in float32."""

_log = logging.getLogger("emotion_ops")


class ClassTokenLayer(torch.nn.Module):
    """Hidden states (N, tokens, width) → the class token's after this layer, (N, 1, width).

    Hooks on the layer itself and on its attention are not called.
    """

    def __init__(self, layer: torch.nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, hidden_states: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        """What a mask and options for outputs would say is of no meaning for images that fill their tokens."""
        layer: Any = self.layer
        attention = layer.attention
        token, seen = hidden_states[:, :1], layer.layernorm_before(hidden_states)

        def heads(states: torch.Tensor) -> torch.Tensor:
            return states.view(*states.shape[:2], attention.num_attention_heads, attention.head_dim).transpose(1, 2)

        mixed = torch.nn.functional.scaled_dot_product_attention(
            heads(attention.q_proj(seen[:, :1])),
            heads(attention.k_proj(seen)),
            heads(attention.v_proj(seen)),
            scale=attention.scaling,
        )
        token = token + attention.o_proj(mixed.transpose(1, 2).flatten(-2))
        answer: torch.Tensor = token + layer.mlp(layer.layernorm_after(token))
        return answer


def class_token_only(network: PreTrainedModel) -> None:
    """Let a ViT's last layer compute the class token alone, where that gives the numbers that it gave.

    Args:
        network: In evaluation mode and float32; changed in place. Any other architecture stays as it is, and so does
            a ViT that another transformers builds otherwise.
    """
    if type(network) is not ViTForImageClassification:
        return
    try:
        layers = network.vit.layers
        spared = torch.nn.ModuleList([*layers[:-1], ClassTokenLayer(layers[-1])])
        if _agree(network, layers, spared):
            network.vit.layers = spared
    except Exception as error:  # whatever is wrong with a network is told where it is run
        _log.debug("the last layer is computed for every token: %s", error)


def _agree(network: Any, layers: torch.nn.ModuleList, spared: torch.nn.ModuleList) -> bool:
    """Whether the logits are the same: of the network with its last layer alone, a sixth of the time of an image."""
    size = network.config.image_size
    height, width = (size, size) if isinstance(size, int) else size
    probe = torch.rand((1, network.config.num_channels, height, width), generator=torch.Generator().manual_seed(0))
    try:
        logits = []
        for last in (layers[-1:], spared[-1:]):
            network.vit.layers = last
            with torch.inference_mode():
                logits.append(network(pixel_values=probe).logits)
    finally:
        network.vit.layers = layers
    right, found = logits
    return bool((found - right).abs().max() <= TOLERANCE * right.abs().max())
