/**
 * The parameters of each stage type, with defaults; the pipeline file's schema is made of these.
 * Key names are those of transformers, PEFT and TRL.
 * @module
 */
import { z } from "zod";

/** Name of a stage; a dot would make conditions ambiguous. */
export const nameSchema = z
	.string()
	.regex(/^[A-Za-z][A-Za-z0-9_-]*$/, "a name of letters, digits, - and _ that begins with a letter");
const positiveInt = z.number().int().min(1);
const ratio = z.number().min(0).max(1);

const lora = z
	.strictObject({
		r: positiveInt.max(4096).default(8),
		alpha: z.number().positive().optional().describe("scale = alpha / r; default 2 r"),
		dropout: z.number().min(0).lt(1).default(0),
		target_modules: z.union([z.literal("all-linear"), z.array(z.string()).min(1)]).default("all-linear"),
		use_rslora: z.boolean().default(false),
		init: z.string().optional().describe("folder of a stored adapter to start from"),
	})
	.describe("LoRA adapter to train (PEFT names)");

const split = z.enum(["train", "valid", "test"]);

/** Where training rows come from. */
const dataSource = z.union([
	z.strictObject({
		task: z.string(),
		split: split.default("train"),
		limit: positiveInt.optional(),
		weight: z.number().positive().optional(),
	}),
	z.strictObject({ path: z.string(), limit: positiveInt.optional(), weight: z.number().positive().optional() }),
	z.strictObject({
		from: nameSchema,
		rejected: z.enum(["overlong", "wrong", "any"]).optional().describe("dpo: which generations are the rejected answers"),
		limit: positiveInt.optional(),
		weight: z.number().positive().optional(),
	}),
]);

const validation = z.strictObject({
	split: split.optional().describe("this split of the stage's tasks"),
	path: z.string().optional(),
	every_steps: positiveInt.default(20),
	keep: z.enum(["best", "last"]).default("best"),
	patience: positiveInt.optional().describe("stop after so many validations without a better loss"),
	limit: positiveInt.optional(),
});

const common = {
	name: nameSchema,
	when: z.string().optional().describe("run only if this condition on earlier metrics holds"),
};

const allowLeaks = z
	.boolean()
	.default(false)
	.describe("train on rows that have a text of a test split, too; they are counted in either case");

const guards = z
	.strictObject({
		non_finite: z.enum(["stop", "skip", "rollback"]).default("stop").describe("a loss or gradient that is NaN or infinite"),
		spike: z.enum(["ignore", "warn", "skip", "rollback", "stop"]).default("warn").describe("a loss far above the usual"),
		spike_factor: z
			.number()
			.positive()
			.default(8)
			.describe("a spike is so many interquartile ranges above the median of the last spike_window losses"),
		spike_window: positiveInt.min(16).default(64),
		grad_norm_limit: z.number().positive().optional().describe("a gradient norm above this counts as a spike"),
		max_skips: z.number().int().min(0).default(10).describe("stop after so many skipped batches"),
		max_rollbacks: z.number().int().min(0).default(3),
		rollback_lr_factor: z.number().positive().max(1).default(0.5).describe("what a rollback multiplies the learning rate by"),
		low_memory: z
			.enum(["ignore", "shrink", "stop"])
			.default("stop")
			.describe(
				"the host's memory runs short: shrink: smaller micro-batches (on a CPU); stop: those first, then a checkpoint and exit status 75",
			),
		low_memory_megabytes: z
			.number()
			.positive()
			.optional()
			.describe("short is less than this; default: 5 % of all, at most 256, and room for a checkpoint"),
		disk_wait_minutes: z.number().min(0).default(10).describe("wait so long for room for a checkpoint before giving up"),
	})
	.prefault({})
	.describe("what is done when something goes wrong; skip: leave the batch out, rollback: go back to the newest checkpoint");

const training = {
	data: z.array(dataSource).min(1),
	lora: lora.optional().describe("absent: all parameters are trained"),
	learning_rate: z.number().positive().default(5e-5),
	lr_scheduler_type: z.enum(["constant", "linear", "cosine"]).default("linear"),
	warmup_steps: z.number().int().min(0).optional(),
	warmup_ratio: ratio.optional(),
	batch_size: positiveInt.default(16),
	micro_batch_tokens: z.union([positiveInt, z.literal("auto")]).default("auto"),
	num_train_epochs: z.number().positive().optional(),
	max_steps: positiveInt.optional(),
	max_length: positiveInt.default(1024),
	max_length_policy: z.enum(["error", "drop"]).default("error"),
	weight_decay: z.number().min(0).default(0),
	max_grad_norm: z.number().min(0).default(1).describe("0: no clipping"),
	adam_beta1: z.number().min(0).lt(1).default(0.9),
	adam_beta2: z.number().min(0).lt(1).default(0.999),
	adam_epsilon: z.number().positive().default(1e-8),
	shuffle: z.boolean().default(true),
	seed: z.number().int().min(0).optional(),
	chat_template: z.boolean().default(false),
	assistant_only_loss: z.enum(["all", "last"]).default("all"),
	recompute: z.enum(["none", "selective", "full"]).default("selective"),
	validation: validation.optional(),
	save_steps: positiveInt.optional().describe("save a checkpoint every so many steps"),
	save_minutes: z.number().min(0).default(10).describe("save a checkpoint every so many minutes; 0: by steps alone"),
	save_total_limit: positiveInt.default(2).describe("checkpoints kept"),
	allow_leaks: allowLeaks,
	guards,
};

const generation = {
	max_new_tokens: positiveInt.optional(),
	temperature: z.number().min(0).default(0),
	top_k: z.number().int().min(0).default(0),
	top_p: z.number().positive().max(1).default(1),
	min_p: ratio.default(0),
	repetition_penalty: z.number().positive().default(1),
	generation_batch_size: positiveInt.default(32),
};

const sft = z.strictObject({ ...common, type: z.literal("sft"), ...training });

const pretrain = z.strictObject({
	...common,
	type: z.literal("pretrain"),
	...training,
	learning_rate: z.number().positive(),
	max_length_policy: z.enum(["error", "drop", "split"]).default("split").describe("split: a long text becomes several rows"),
	initializer_range: z.number().positive().default(0.02),
});

const dpo = z.strictObject({
	...common,
	type: z.literal("dpo"),
	...training,
	learning_rate: z.number().positive().default(1e-6),
	until: z.string().optional().describe("repeat until this condition holds"),
	max_iterations: positiveInt.default(1),
	beta: z.number().positive().default(0.1),
	loss_type: z.enum(["sigmoid", "ipo", "hinge", "robust", "sigmoid_norm", "simpo", "orpo", "kto"]).default("sigmoid"),
	label_smoothing: z.number().min(0).lt(0.5).default(0),
	simpo_gamma: z.number().default(0.5),
	desirable_weight: z.number().positive().default(1),
	undesirable_weight: z.number().positive().default(1),
});

export const evaluateSchema = z.strictObject({
	...common,
	type: z.literal("evaluate"),
	tasks: z.array(z.string()).min(1),
	split: split.default("test"),
	limit: z
		.union([positiveInt, z.number().gt(0).lt(1)])
		.optional()
		.describe("rows of each task; below 1 a share of them"),
	limit_rule: z
		.enum(["seeded", "leaderboard"])
		.default("seeded")
		.describe("which rows: a seeded choice, or those that the leaderboard's harness asks, in its order"),
	num_fewshot: z.number().int().min(0).default(0).describe("train rows shown with their answers before each question"),
	prompt_truncation: z
		.enum(["refuse", "leaderboard"])
		.default("refuse")
		.describe("a prompt that is too long: refused, or cut from the left as the leaderboard's harness does"),
	...generation,
	chat_template: z.boolean().default(false),
	scoring: z.enum(["leaderboard", "strict"]).default("leaderboard"),
	gate: z.string().optional().describe("exit status 3 unless this condition holds"),
});

const synthesize = z.strictObject({
	...common,
	type: z.literal("synthesize"),
	task: z.string(),
	corpus: z.string().optional().describe("jsonl files with a text column; default: the task's own train texts, labels unread"),
	limit: positiveInt.optional(),
	allow_leaks: allowLeaks,
	samples: positiveInt.default(4),
	agreement: ratio.default(0.75).describe("share of the samples that must give the same answer"),
	pairs: z.enum(["sft", "dpo"]).default("sft"),
	keep_reasoning: z.boolean().default(false).describe("the completion keeps the chain of thought before the answer"),
	instruction: z.string().optional().describe("what asks for the chain of thought; replaces the built-in one"),
	answer_pattern: z.string().optional().describe("RE2 pattern whose first group is the answer"),
	chat_template: z.boolean().default(false),
	...generation,
	temperature: z.number().min(0).default(0.8),
});

export const stageSchema = z.discriminatedUnion("type", [pretrain, sft, dpo, synthesize, evaluateSchema]);

export type StageConfig = z.infer<typeof stageSchema>;
export type PretrainConfig = z.infer<typeof pretrain>;
export type SftConfig = z.infer<typeof sft>;
export type DpoConfig = z.infer<typeof dpo>;
export type EvaluateConfig = z.infer<typeof evaluateSchema>;
export type SynthesizeConfig = z.infer<typeof synthesize>;
/** What all training stages share. */
export type TrainingConfig = Omit<Pick<SftConfig, keyof typeof training>, "max_length_policy">;
export type DataSource = z.infer<typeof dataSource>;
export type ValidationConfig = z.infer<typeof validation>;
export type GenerationConfig = Pick<EvaluateConfig, keyof typeof generation>;
