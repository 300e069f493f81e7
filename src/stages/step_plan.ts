/**
 * Which examples every optimiser step takes: a function of data, config and seed, so that it can begin at any step.
 * @module
 */
import { epochOrder } from "../data/order.js";
import type { TrainingConfig } from "./schema.js";
import type { TrainingSet } from "./training_set.js";

/** Where in the data a step begins. */
export interface DataCursor {
	/** Counts from 0. */
	epoch: number;
	/** Place in the epoch's order. */
	position: number;
}

export interface StepPlan {
	totalSteps: number;
	/** The items of every step in order, with the epoch reached after it; `done` steps are passed over. */
	steps(done?: number): Iterable<{ epoch: number; items: number[] }>;
	/** Where the step after `done` steps begins. */
	cursor(done: number): DataCursor;
}

/** How many steps there are and what is in them; the last batch of an epoch may be smaller. */
export function planSteps(
	set: Pick<TrainingSet<unknown>, "items" | "draw">,
	config: Pick<TrainingConfig, "batch_size" | "max_steps" | "num_train_epochs" | "shuffle">,
	seed: number,
): StepPlan {
	const draw = set.draw ?? (() => set.items.map((_, i) => i));
	const perEpoch = Math.ceil(draw(0).length / config.batch_size);
	const totalSteps = perEpoch === 0 ? 0 : (config.max_steps ?? Math.ceil((config.num_train_epochs ?? 1) * perEpoch));
	const cursor = (done: number): DataCursor => ({
		epoch: Math.floor(done / perEpoch),
		position: (done % perEpoch) * config.batch_size,
	});
	return {
		totalSteps,
		cursor,
		*steps(done = 0) {
			let step = done;
			while (step < totalSteps) {
				const { epoch, position } = cursor(step);
				const drawn = draw(epoch);
				const order = config.shuffle ? epochOrder(drawn.length, seed, epoch) : drawn.map((_, i) => i);
				for (let at = position; at < order.length && step < totalSteps; at += config.batch_size) {
					const items = Array.from(order.slice(at, at + config.batch_size), (i) => drawn[i]!);
					step += 1;
					yield { epoch: epoch + Math.min(1, (at + items.length) / order.length), items };
				}
			}
		},
	};
}
