/**
 * What watches over a training: losses and gradients that are not finite, losses out of all proportion, and what is done
 * about them. Its verdicts depend on the rows so far alone, so that a resumed run reaches the same ones.
 * @module
 */
import { FintuneError } from "../errors.js";
import type { MetricRow } from "../report/types.js";
import type { TrainingConfig } from "./schema.js";

export type GuardAction = "stop" | "skip" | "rollback";

/** Losses that it takes to know what is usual. */
const fewestRows = 16;

export class Guards {
	readonly #config: TrainingConfig["guards"];

	constructor(config: TrainingConfig["guards"]) {
		this.#config = config;
	}

	/** Whether the beginning is needed to go back to. */
	get rollsBack(): boolean {
		return this.#config.non_finite === "rollback" || this.#config.spike === "rollback";
	}

	/** What the next step may not exceed, where exceeding it must not change the parameters. */
	limits(rows: readonly MetricRow[]): { loss?: number; gradNorm?: number } {
		if (this.#config.spike === "ignore" || this.#config.spike === "warn") return {};
		return this.#limits(rows);
	}

	/** What is told about a step that was done although it exceeded what is usual; undefined: nothing. */
	warning(rows: readonly MetricRow[], { loss, gradNorm }: { loss: number; gradNorm: number }): string | undefined {
		if (this.#config.spike !== "warn") return undefined;
		const limits = this.#limits(rows);
		if (limits.loss !== undefined && loss > limits.loss) return `the loss is ${loss}, usual is up to ${limits.loss}`;
		if (limits.gradNorm !== undefined && gradNorm > limits.gradNorm) {
			return `the gradient norm is ${gradNorm}, above grad_norm_limit ${limits.gradNorm}`;
		}
		return undefined;
	}

	/**
	 * What to do about a step that failed and changed nothing.
	 * @param soFar what guards have done before
	 * @throws the error itself where the run has to stop
	 */
	action(error: unknown, soFar: { skipped: number; rollbacks: number }): Exclude<GuardAction, "stop"> {
		const action = this.#configured(error);
		if (action === "stop") throw error;
		const { max_skips: skips, max_rollbacks: most } = this.#config;
		if (action === "skip" && soFar.skipped >= skips) throw tooMany(error, `max_skips ${skips}`);
		if (action === "rollback" && soFar.rollbacks >= most) throw tooMany(error, `max_rollbacks ${most}`);
		return action;
	}

	#configured(error: unknown): GuardAction {
		const code = error instanceof FintuneError ? error.code : undefined;
		if (code === "E_NUMERIC") return this.#config.non_finite;
		if (code !== "E_STEP_LIMIT") return "stop";
		const { spike } = this.#config;
		return spike === "skip" || spike === "rollback" ? spike : "stop";
	}

	#limits(rows: readonly MetricRow[]): { loss?: number; gradNorm?: number } {
		const { spike_factor: factor, spike_window: window, grad_norm_limit: gradNorm } = this.#config;
		const losses = rows
			.slice(-window)
			.map((row) => row.loss)
			.sort((a, b) => a - b);
		const at = (share: number): number => losses[Math.floor(share * (losses.length - 1))]!;
		return {
			...(losses.length < fewestRows ? {} : { loss: at(0.5) + factor * Math.max(at(0.75) - at(0.25), 0.02 * Math.abs(at(0.5))) }),
			...(gradNorm === undefined ? {} : { gradNorm }),
		};
	}
}

const tooMany = (error: unknown, limit: string): FintuneError => {
	const { code, message } = error as FintuneError;
	return new FintuneError(code, `${message}; ${limit} of the stage's guards is used up`, {
		hint: "a smaller learning_rate, warmup_steps, max_grad_norm; or look at the rows of this batch",
		cause: error,
	});
};
