/**
 * The losses of preference pairs, on the host: what the head's second pass is weighted with.
 * @module
 */
import type { NativePreferenceLoss } from "./binding.js";
import { call } from "./kernel_settings.js";

export type KernelPreferenceLoss = "sigmoid" | "ipo" | "hinge" | "robust" | "sigmoid_norm" | "simpo" | "orpo";

/** Summed log-probabilities of pairs, and how many tokens each sum has. */
export interface PreferencePairs {
	policyChosen: Float64Array;
	policyRejected: Float64Array;
	/** Not needed for simpo and orpo. */
	referenceChosen?: Float64Array;
	referenceRejected?: Float64Array;
	nChosen: Int32Array;
	nRejected: Int32Array;
}

/** A preference loss in double, as TRL's loss_type names it: mean over the pairs, and its gradient by the sums. */
export function preferenceLoss(
	pairs: PreferencePairs,
	options: { loss?: KernelPreferenceLoss; beta?: number; labelSmoothing?: number; gamma?: number } = {},
): NativePreferenceLoss {
	return call((k) => k.preferenceLoss({ loss: "sigmoid", ...pairs, ...options }));
}

/** {@link preferenceLoss} with the sigmoid loss of Rafailov et al. 2023 (DPO), equation 7. */
export function dpoLoss(pairs: PreferencePairs, options: { beta?: number; labelSmoothing?: number } = {}): NativePreferenceLoss {
	return preferenceLoss(pairs, { ...options, loss: "sigmoid" });
}
