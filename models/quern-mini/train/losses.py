"""What the student is scored by: distance from its targets, unlike similarities, and pairs that must find each other."""
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


def distillation_loss(z, t, recipe):
    """z, t f32 [B, 384] -> the weighted sum, and both its parts for the log."""
    far = sum(1 - F.cosine_similarity(z[:, :w], t[:, :w], dim=1).mean() for w in WIDTHS) / len(WIDTHS)
    unlike = similarity_loss(z, t, recipe["temperature"])
    return recipe["cosine"] * far + recipe["similarity"] * unlike, torch.stack((far, unlike)).detach()


def pairs_loss(a, b, ta, tb, temperature):
    """InfoNCE both ways at two widths; a negative that the teacher finds as near as the true pair is not one."""
    truth = (ta * tb).sum(1, keepdim=True)
    false_negative = (ta @ tb.T > torch.minimum(truth, truth.new_tensor(0.9)) - 0.05)
    false_negative.fill_diagonal_(False)
    labels, total = torch.arange(len(a), device=a.device), 0.0
    for w in (128, a.shape[1]):
        s = F.normalize(a[:, :w], dim=1) @ F.normalize(b[:, :w], dim=1).T / temperature
        s = s.masked_fill(false_negative, -1e4)
        total = total + F.cross_entropy(s, labels) + F.cross_entropy(s.T, labels)
    return total / 4
