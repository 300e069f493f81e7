/**
 * Linears with LoRA as a check runs them: the factors apart, and beside the weight.
 */
import { besideWeight } from "../../dist/engine/beside.js";
import * as plain from "./reference.mjs";

const floats = (t) => t.toFloat32Array();
const scales = [2, 0.5, 1.25];

export const linearInputs = (s, draw) => ({
	x: draw.values(s.rows * s.inputs),
	w: draw.values(s.outputs * s.inputs, 0.2),
	bias: draw.floats(s.outputs),
	dy: draw.values(s.rows * s.outputs),
	a: s.ranks.map((r) => draw.floats(r * s.inputs, 0.3)),
	b: s.ranks.map((r) => draw.floats(s.outputs * r, 0.3)),
});

export function linearRun(door, s, v, backward) {
	const { rows, inputs, outputs, ranks } = s;
	const adapters = ranks.map((rank, i) => ({
		a: door.f32([rank, inputs], v.a[i]),
		b: door.f32([outputs, rank], v.b[i]),
		scale: scales[i],
	}));
	const [x, weight] = [door.act([rows, inputs], v.x), door.act([outputs, inputs], v.w)];
	const options = { adapters, compute: door.dtype };
	const top = ranks.at(-1);
	const u = top === undefined ? {} : { u: door.f32([rows, top]) };
	const y = door.act([rows, outputs]);
	door.kernels.loraLinear(x, weight, { ...options, bias: door.f32([outputs], v.bias), y, ...u });
	if (!backward) return { y: floats(y), ...(u.u ? { u: floats(u.u) } : {}) };
	const trained = top === undefined ? {} : { da: door.f32([top, inputs]), db: door.f32([outputs, top]) };
	const dx = door.act([rows, inputs]);
	door.kernels.loraLinearBackward(door.act([rows, outputs], v.dy), x, weight, { ...options, ...u, ...trained, dx });
	return { dx: floats(dx), ...Object.fromEntries(Object.entries(trained).map(([name, t]) => [name, floats(t)])) };
}

/** The same with the adapters' factors beside the weight, and room for s u behind x, as models on a GPU have them. */
export function besideRun(door, s, v) {
	const { rows, inputs, outputs, ranks } = s;
	const factors = ranks.map((rank, i) => ({
		a: door.f32([rank, inputs], v.a[i]),
		b: door.f32([outputs, rank], v.b[i]),
		scale: scales[i],
	}));
	const { whole, weight, adapters, room } = besideWeight(door.act([outputs, inputs], v.w), factors);
	door.keep(whole);
	const roomy = (cols, values) => {
		const view = door.act([rows, cols + room]).columns(0, cols);
		view.set(Float32Array.from(values));
		return view;
	};
	const [x, top] = [roomy(inputs, v.x), ranks.at(-1)];
	const options = { adapters, compute: door.dtype };
	const [u, y] = [door.f32([rows, top]), door.act([rows, outputs])];
	door.kernels.loraLinear(x, weight, { ...options, xRoom: room, bias: door.f32([outputs], v.bias), y, u });
	const [da, db, dx] = [door.f32([top, inputs]), door.f32([outputs, top]), door.act([rows, inputs])];
	door.kernels.loraLinearBackward(roomy(outputs, v.dy), x, weight, { ...options, dyRoom: room, u, da, db, dx });
	return Object.fromEntries(Object.entries({ y, u, dx, da, db }).map(([name, t]) => [name, floats(t)]));
}

export const linearPlain = (s, v, r, operand) => plain.linear({ ...s, scales }, v, r, operand);
