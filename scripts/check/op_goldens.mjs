/**
 * What torch computed in float64 for single ops (test/fixtures/hf/ops), computed again on a device in f32.
 */
import { join } from "node:path";
import { kernels } from "../../dist/engine/kernels.js";
import { readSafetensorsRaw } from "../../dist/engine/safetensors.js";
import { Door } from "./door.mjs";
import { within } from "./numbers.mjs";

const arrays = { F32: Float32Array, F64: Float64Array, I32: Int32Array };

async function read(path) {
	const tensors = await readSafetensorsRaw(path);
	return Object.fromEntries(
		[...tensors].map(([name, { dtype, shape, bytes }]) => [name, { shape, values: new arrays[dtype](bytes.slice().buffer) }]),
	);
}

const floats = (t) => t.toFloat32Array();

/** Each gives what it made under the names of the golden; `t` makes a tensor of an input, `n` is a number of it. */
const goldens = {
	rmsnorm(door, t, n) {
		const [x, w] = [t("x"), t("w")];
		const { y, rstd } = door.kernels.rmsnorm(x, w, { eps: n("eps") });
		const dweight = door.f32(w.shape);
		const dx = door.kernels.rmsnormBackward(t("dy"), x, w, rstd, { dweight });
		return { y, dx, dw: dweight };
	},
	swiglu(door, t) {
		const [gate, up] = [t("gate"), t("up")];
		return { y: door.kernels.swiglu(gate, up), ...door.kernels.swigluBackward(gate, up, t("dy")) };
	},
	rope(door, t) {
		// The tables hold a row for each token, so the positions are simply 0, 1, ...
		const [cos, sin] = [t("cos"), t("sin")];
		const positions = door.i32(Array.from({ length: cos.shape[0] }, (_, i) => i));
		const turn = (name, inverse) => {
			const x = t(name);
			return door.kernels.rope(x, { heads: x.shape[1], positions, cos, sin, inverse });
		};
		return { q_rot: turn("q", false), k_rot: turn("k", false), dq: turn("dq_rot", true), dk: turn("dk_rot", true) };
	},
	attention_h4_g2_k16: attention,
	attention_h2_g1_k128: attention,
	lora_linear(door, t, n) {
		const [x, w] = [t("x"), t("W")];
		const adapters = [{ a: t("A"), b: t("B"), scale: n("scale") }];
		const { y, u } = door.kernels.loraLinear(x, w, { adapters });
		const [da, db] = [door.f32(adapters[0].a.shape), door.f32(adapters[0].b.shape)];
		const dx = door.kernels.loraLinearBackward(t("dy"), x, w, { adapters, u, da, db });
		return { y, dx, dA: da, dB: db };
	},
	linear_cross_entropy(door, t, _n, g) {
		const [hidden, w, targets] = [t("hidden"), t("W"), t("targets")];
		const { logprob, entropy } = door.kernels.linearLogprob(hidden, w, targets, { entropy: true });
		// The golden's weights are of the loss, -1 times those of the log-probabilities.
		const weights = door.f32(
			g.weights.shape,
			g.weights.values.map((x) => -x),
		);
		const dweight = door.f32(w.shape);
		const { dhidden } = door.kernels.linearLogprob(hidden, w, targets, { weights, dweight });
		return { logprob, entropy, dhidden, dW: dweight };
	},
	adamw_step1: adamw,
	adamw_step10: adamw,
};

function attention(door, t, n, g) {
	const [q, k, v] = [t("q"), t("k"), t("v")];
	const options = { cuSeqlens: t("cu_seqlens"), heads: g.q.shape[1], kvHeads: g.k.shape[1], scale: n("scale") };
	const forward = door.kernels.attention(q, k, v, options);
	return { ...forward, ...door.kernels.attentionBackward(q, k, v, forward, t("dy"), options) };
}

function adamw(door, t, _n, g) {
	const [step, lr, beta1, beta2, eps, weightDecay] = g.hyper.values;
	const tensors = { p: t("p"), g: t("g"), m: t("m"), v: t("v") };
	door.kernels.adamw([{ ...tensors, weightDecay }], { step, lr, beta1, beta2, eps });
	return { p_after: tensors.p, m_after: tensors.m, v_after: tensors.v };
}

/** Of the largest value: a few units of f32, and sums of up to 128 of them. */
const tolerance = 4e-6;

/** @param {{device: string, fixtures: string, onProgress?: (text: string) => void}} options fixtures: test/fixtures/hf */
export async function checkOpGoldens({ device, fixtures, onProgress }) {
	const records = [];
	for (const [name, compute] of Object.entries(goldens)) {
		onProgress?.(name);
		const golden = await read(join(fixtures, "ops", `${name}.safetensors`));
		kernels.setDevice(device);
		const door = new Door("f32");
		try {
			const input = (key) => {
				const { shape, values } = golden[key];
				return values instanceof Int32Array ? door.i32(values) : door.f32(shape, values);
			};
			const made = compute(door, input, (key) => golden[key].values[0], golden);
			for (const [result, tensor] of Object.entries(made)) {
				records.push({
					check: "golden",
					case: name,
					dtype: "f32",
					result,
					...within(floats(tensor), golden[result].values, tolerance),
				});
			}
		} finally {
			door.close();
			kernels.setDevice("cpu");
		}
	}
	return records;
}
