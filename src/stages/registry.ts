/**
 * Stage types by name.
 * @module
 */
import type { StageOutcome, TrainingContext } from "./context.js";
import type { StageConfig } from "./schema.js";

/** Runs one stage; its code is loaded here, so that a run with nothing to do begins and ends without it. */
export async function runStage(context: TrainingContext, config: StageConfig): Promise<StageOutcome> {
	switch (config.type) {
		case "pretrain":
			return (await import("./pretrain.js")).pretrain(context, config);
		case "sft":
			return (await import("./sft.js")).sft(context, config);
		case "dpo":
			return (await import("./dpo.js")).dpo(context, config);
		case "synthesize":
			return (await import("./synthesize.js")).synthesize(context, config);
		case "evaluate":
			return (await import("./evaluate.js")).evaluate(context, config);
	}
}
