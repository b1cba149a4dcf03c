"""Muon (orthogonalised momentum; Jordan et al. 2024) for matrices of equal shape, stacked so that few kernels launch."""
import torch

USUAL_RMS = 0.036  # 0.7 / sqrt(384)

def orthogonalise(g, steps=5):
    """Newton-Schulz towards the nearest semi-orthogonal matrix, g [n, rows, columns]."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g.bfloat16()
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        s = x @ x.mT
        x = a * x + (b * s + c * s @ s) @ x
    return (x.mT if tall else x).float()


class Muon:
    def __init__(self, params, momentum=0.95, weight_decay=0.01):
        self.groups, self.momentum, self.weight_decay = {}, momentum, weight_decay
        for p in params:
            self.groups.setdefault(tuple(p.shape), []).append(p)
        self.state = {shape: torch.zeros(len(ps), *shape, device=ps[0].device) for shape, ps in self.groups.items()}
        # A matrix that starts larger than common moves in larger steps: the transplanted ones differ a hundredfold.
        self.sizes = {shape: torch.stack([(p.detach().square().mean().sqrt() / USUAL_RMS).clamp(min=1) for p in ps])[:, None, None]
                      for shape, ps in self.groups.items()}

    @torch.no_grad()
    def step(self, lr):
        for shape, params in self.groups.items():
            grads, velocity = torch.stack([p.grad for p in params]), self.state[shape]
            velocity.lerp_(grads, 1 - self.momentum)
            update = orthogonalise(grads.lerp_(velocity, self.momentum))
            scale = 0.2 * max(shape) ** 0.5  # an update as large as AdamW's (Liu et al. 2025)
            torch._foreach_mul_(params, 1 - lr * self.weight_decay)
            torch._foreach_add_(params, list((update * self.sizes[shape] * (-lr * scale)).unbind(0)))
