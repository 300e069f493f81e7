/**
 * What the device under check is, and whether its dense products come from the library that is meant to make them.
 */
import { machineFacts } from "../../dist/bench/machine.js";
import { devices, gpuInfo, resolveDevice } from "../../dist/engine/device.js";
import { defaultThreads } from "../../dist/engine/threads.js";

/** The device, or why it is not there, in one line. */
export function findDevice(name) {
	const all = devices();
	if (name === "cuda" && !all.some(({ kind }) => kind === "cuda")) {
		const { reason } = gpuInfo(true);
		return { why: `no GPU to check: ${reason ?? `this machine has ${all.map((d) => d.name).join(", ")}`}` };
	}
	return { device: resolveDevice(name) };
}

export function describeDevice(device) {
	const gpu = device.kind === "cuda" ? gpuInfo(true).gpus.find(({ index }) => device.name === `cuda:${index}`) : undefined;
	return {
		name: device.name,
		kind: device.kind,
		bf16: device.bf16,
		gemm: device.gemm ?? null,
		gpu: gpu ?? null,
		machine: machineFacts(device, defaultThreads()),
	};
}

/**
 * A GPU without cuBLASLt runs on the stand-in, whose speed is nobody's aim; and so does a product that cuBLASLt is there for and
 * does not offer. Asked after the checks.
 * @param expected whether they made products that are meant for it
 * @param info what `gpuInfo` says then
 */
export function checkGemm(device, { allowFallback, expected }, info = gpuInfo()) {
	if (device.kind !== "cuda") return [];
	const { productLibrary, whyOwnProducts, productsByLibrary, productsNotOffered, firstNotOffered } = info;
	const fallback = productLibrary === null || productsNotOffered > 0 || (expected && productsByLibrary === 0);
	return [
		{
			check: "gemm",
			result: productLibrary ?? "own",
			...(productLibrary === null ? { reason: whyOwnProducts } : {}),
			by_library: productsByLibrary,
			not_offered: productsNotOffered,
			...(firstNotOffered === null ? {} : { first_not_offered: firstNotOffered }),
			allowed: allowFallback,
			ok: allowFallback || !fallback,
		},
	];
}
