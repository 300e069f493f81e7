/**
 * Stage types by name.
 * @module
 */
import type { StageOutcome, TrainingContext } from "./context.js";
import { dpo } from "./dpo.js";
import { evaluate } from "./evaluate.js";
import { pretrain } from "./pretrain.js";
import type { StageConfig } from "./schema.js";
import { sft } from "./sft.js";
import { synthesize } from "./synthesize.js";

/** Runs one stage. */
export function runStage(context: TrainingContext, config: StageConfig): Promise<StageOutcome> {
	switch (config.type) {
		case "pretrain":
			return pretrain(context, config);
		case "sft":
			return sft(context, config);
		case "dpo":
			return dpo(context, config);
		case "synthesize":
			return synthesize(context, config);
		case "evaluate":
			return evaluate(context, config);
	}
}
