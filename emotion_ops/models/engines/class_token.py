"""A ViT's last layer, computed only for the token that its classifier reads.

The classifier of a ViT reads the class token only, and after the last attention tokens do not mix. So in the last layer
the queries, the projection and the MLP of the other 196 tokens are not needed: 7 % of a ViT-B/16. Their keys and values
are needed.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from transformers import PreTrainedModel, ViTForImageClassification

TOLERANCE = 1e-5
"""Largest difference of a logit, relative to the largest logit, that is accepted as rounding in float32."""

_log = logging.getLogger("emotion_ops")


class ClassTokenLayer(torch.nn.Module):
    """Hidden states (N, tokens, width) → those of the class token after this layer, (N, 1, width).

    Hooks on the layer itself and on its attention are not called.
    """

    def __init__(self, layer: torch.nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, hidden_states: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        """Masks and options for outputs are ignored: images fill all their tokens."""
        layer: Any = self.layer
        attention = layer.attention
        token, normalised = hidden_states[:, :1], layer.layernorm_before(hidden_states)

        def heads(states: torch.Tensor) -> torch.Tensor:
            return states.view(*states.shape[:2], attention.num_attention_heads, attention.head_dim).transpose(1, 2)

        mixed = torch.nn.functional.scaled_dot_product_attention(
            heads(attention.q_proj(normalised[:, :1])),
            heads(attention.k_proj(normalised)),
            heads(attention.v_proj(normalised)),
            scale=attention.scaling,
        )
        token = token + attention.o_proj(mixed.transpose(1, 2).flatten(-2))
        output: torch.Tensor = token + layer.mlp(layer.layernorm_after(token))
        return output


def use_class_token_only(network: PreTrainedModel) -> None:
    """Let a ViT's last layer compute the class token only, if that gives the same numbers.

    Args:
        network: In evaluation mode and float32; changed in place. Other architectures are not changed, and neither is
            a ViT that another version of transformers builds in another way.
    """
    if type(network) is not ViTForImageClassification:
        return
    try:
        layers = network.vit.layers
        faster = torch.nn.ModuleList([*layers[:-1], ClassTokenLayer(layers[-1])])
        if _gives_same_logits(network, layers, faster):
            network.vit.layers = faster
    except Exception as error:  # if the network itself is broken, that is reported where it is run
        _log.debug("the last layer is computed for all tokens: %s", error)


def _gives_same_logits(network: Any, layers: torch.nn.ModuleList, faster: torch.nn.ModuleList) -> bool:
    """Compare the logits of the network reduced to its last layer: a sixth of the time of an image."""
    size = network.config.image_size
    height, width = (size, size) if isinstance(size, int) else size
    probe = torch.rand((1, network.config.num_channels, height, width), generator=torch.Generator().manual_seed(0))
    try:
        logits = []
        for last in (layers[-1:], faster[-1:]):
            network.vit.layers = last
            with torch.inference_mode():
                logits.append(network(pixel_values=probe).logits)
    finally:
        network.vit.layers = layers
    expected, found = logits
    return bool((found - expected).abs().max() <= TOLERANCE * expected.abs().max())
