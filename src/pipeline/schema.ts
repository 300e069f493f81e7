/**
 * The shape of a pipeline file. One source: it checks the file, gives the defaults and makes the JSON Schema.
 * @module
 */
import { z } from "zod";
import { stageSchema } from "../stages/schema.js";

const address = z
	.string()
	.refine((text) => /^https?:\/\/[^\s/]/.test(text) && URL.canParse(text), "an address that begins with http:// or https://");
const hook = z.union([address, z.strictObject({ command: z.string().min(1).describe("run by the shell, with FINTUNE_* set") })]);

const hooksSchema = z
	.strictObject({
		ping_url: address.optional().describe("a check of healthchecks' kind: gets /start, then the plain address or /EXITSTATUS"),
		on_start: hook.optional().describe("an address to POST to, or {command}: once the run holds its folder"),
		on_success: hook.optional().describe("the run has ended with status 0"),
		on_failure: hook.optional().describe("it has ended with another one: failed, stopped to go on later, or a gate not passed"),
	})
	.describe("who is told of the run; what cannot be told is a warning and never fails it");

export type Hook = z.infer<typeof hook>;
export type Hooks = z.infer<typeof hooksSchema>;

/** When the run that has just ended takes the place of the best one so far. */
export const promoteSchema = z
	.strictObject({
		metric: z
			.string()
			.regex(
				/^[A-Za-z][\w-]*\.[\w/@-]+\.[\w/@-]+$/,
				"stage.task.metric, e.g. final.ner.entity_f1 (strict_entity_f1: the corrected score)",
			)
			.describe("stage.task.metric, as in conditions"),
		against: z.string().default("champion").describe("champion, or the folder of a run"),
		champion: z.string().optional().describe("the link that is moved; default: champion, beside the run folder"),
		min_gain: z.number().min(0).default(0).describe("smallest gain that counts, in the metric's own units"),
		significance: z.number().gt(0).max(1).default(0.05).describe("the two-sided p of the paired bootstrap must be below"),
	})
	.describe("moves the link to the champion here where the run is significantly better; a run that is not ends with status 3");

/** Which runs of this pipeline stay; beyond any of the limits the oldest go. */
export const keepSchema = z
	.strictObject({
		runs: z.number().int().min(1).optional().describe("the so many newest, this one among them"),
		days: z.number().positive().optional().describe("none whose last event is longer ago"),
		gigabytes: z.number().positive().optional().describe("at most 1e9 bytes times this in all"),
	})
	.describe("older runs beside this one that are deleted once it has ended; never the champion and the one before it");

export const pipelineSchema = z.strictObject({
	name: z
		.string()
		.regex(/^[A-Za-z0-9][\w.-]*$/, "a name of letters, digits, -, _ and . that begins with a letter or digit")
		.describe("also the name of the run folder"),
	model: z.string().describe("a Hugging Face folder, a hub id in the local cache, or tiny"),
	adapters: z.array(z.string()).default([]),
	device: z
		.string()
		.regex(/^(auto|cpu|cuda(:\d+)?)$/, "auto, cpu, cuda or cuda:N")
		.default("auto"),
	dtype: z.enum(["auto", "f32", "bf16", "fp16"]).default("auto"),
	threads: z.number().int().min(0).default(0).describe("0: all that this process may use"),
	seed: z.number().int().min(0).default(42),
	data_dir: z.string().optional().describe("folder with task data"),
	hooks: hooksSchema.optional(),
	stages: z.array(stageSchema).min(1),
	promote: promoteSchema.optional(),
	keep: keepSchema.optional(),
});

export type PromoteConfig = z.infer<typeof promoteSchema>;
export type KeepConfig = z.infer<typeof keepSchema>;
export type PipelineConfig = z.infer<typeof pipelineSchema>;

/** The JSON Schema of a pipeline file, for editors. */
export const pipelineJsonSchema = (): unknown => z.toJSONSchema(pipelineSchema, { io: "input" });
