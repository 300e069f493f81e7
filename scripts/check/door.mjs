/**
 * The door through which the checks reach the kernels of one device: tensors between poisoned margins, which are freed
 * together and whose margins are looked at afterwards.
 */
import { kernels } from "../../dist/engine/kernels.js";

export class Door {
	#all = [];
	#unguarded = [];
	kernels = kernels;

	/** @param {string} dtype of activations and weights */
	constructor(dtype) {
		this.dtype = dtype;
	}
	#make(shape, values, dtype) {
		const t = kernels.tensor(shape, values, { dtype, guard: true });
		this.#all.push(t);
		return t;
	}
	/** An activation or weight. */
	act(shape, values) {
		return this.#make(shape, values && Float32Array.from(values), this.dtype);
	}
	/** A statistic, parameter or gradient. */
	f32(shape, values) {
		return this.#make(shape, values && Float32Array.from(values), "f32");
	}
	i32(values) {
		return this.#make([values.length], Int32Array.from(values), "i32");
	}
	/** Freed with the others. */
	keep(tensor) {
		this.#unguarded.push(tensor);
	}
	/** Whether every margin is as it was; frees all. */
	close() {
		const intact = this.#all.every((t) => t.checkGuards());
		for (const t of [...this.#all.splice(0), ...this.#unguarded.splice(0)]) t.dispose();
		return intact;
	}
}
