/**
 * A weight with its adapters' factors beside it, for calls of the kernels: one matrix [[W, B], [A, 0]], as models on a GPU
 * hold it (native/ops/linear.h).
 * @module
 */
import { kernels, type LoraFactors, type Tensor } from "./kernels.js";

export interface BesideWeight {
	/** The whole matrix [OUT + room, IN + room]. */
	whole: Tensor;
	/** W within it. */
	weight: Tensor;
	adapters: LoraFactors[];
	/** Columns, and rows, that the copies take. */
	room: number;
}

/** Columns that a rank takes: the next multiple of 8. */
export const rankRoom = (rank: number): number => Math.ceil(rank / 8) * 8;

/** Lays `weight` and copies of the factors out in a new tensor of the weight's type. */
export function besideWeight(weight: Tensor, factors: readonly LoraFactors[]): BesideWeight {
	const [outputs, inputs] = [weight.shape[0] as number, weight.shape[1] as number];
	const ranks = factors.map((f) => f.a.shape[0] as number);
	const room = ranks.reduce((sum, rank) => sum + rankRoom(rank), 0);
	const whole = kernels.tensor([outputs + room, inputs + room], undefined, { dtype: weight.dtype as "bf16" });
	const top = whole.slice(0, outputs);
	let beside = 0;
	const adapters = factors.map((f, i) => {
		const rank = ranks[i] as number;
		kernels.convert(f.a, whole.slice(outputs + beside, rank).columns(0, inputs));
		kernels.convert(f.b, top.columns(inputs + beside, rank));
		beside += rankRoom(rank);
		return { ...f, beside: beside - rankRoom(rank) };
	});
	return { whole, weight: kernels.convert(weight, top.columns(0, inputs)), adapters, room };
}
