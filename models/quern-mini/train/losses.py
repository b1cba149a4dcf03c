"""What the student is scored by: its distance from the targets, and similarities in the batch that are unlike theirs."""
import torch
import torch.nn.functional as F

WIDTHS = [32, 64, 128, 256, 384]  # a vector cut to any of them must serve (Matryoshka; Kusupati et al. 2022)
SIMILARITY_ROWS_MAX = 1536


def similarity_loss(z, t, temperature):
    """Mean over widths of KL(teacher || student) between the rows of the in-batch similarity matrices."""
    z, t = z[:SIMILARITY_ROWS_MAX], t[:SIMILARITY_ROWS_MAX]
    hide = torch.eye(len(z), device=z.device, dtype=torch.bool)
    want = (t @ t.T / temperature).masked_fill(hide, -1e4).softmax(1)
    total = 0.0
    for w in WIDTHS:
        s = F.normalize(z[:, :w], dim=1)
        got = (s @ s.T / temperature).masked_fill(hide, -1e4).log_softmax(1)
        total = total + F.kl_div(got, want, reduction="batchmean")
    return total / len(WIDTHS)


def distillation_loss(z, t, known, recipe):
    """z, t f32 [B, K, 384], the whole text's vector first, then those of its beginnings; known bool [B, K].

    Returns the weighted sum and, for the log, 1 - cosine of whole texts, of beginnings, and the similarity loss.
    """
    far = sum(1 - F.cosine_similarity(z[..., :w], t[..., :w], dim=2) for w in WIDTHS) / len(WIDTHS)
    whole = far[:, 0].mean()
    begun = (far[:, 1:] * known[:, 1:]).sum() / known[:, 1:].sum().clamp(min=1)
    unlike = similarity_loss(z[:, 0], t[:, 0], recipe["temperature"])
    loss = whole + recipe["beginnings"] * begun + recipe["similarity"] * unlike
    return loss, torch.stack((whole, begun, unlike)).detach()
