/**
 * Architectures by name, for benchmarks that need no weights: the config.json files of the models that the figures of
 * fintune are about.
 * @module
 */
import { parseModelConfig } from "../engine/model_config.js";
import type { ModelConfig } from "../engine/types.js";
import { FintuneError, nearestName } from "../errors.js";

interface ShapeSource {
	/** The hub repository whose config.json this is (keys that do not change the architecture left out). */
	source: string;
	json: Record<string, unknown>;
}

const qwen25 = {
	architectures: ["Qwen2ForCausalLM"],
	model_type: "qwen2",
	hidden_act: "silu",
	max_position_embeddings: 32768,
	rms_norm_eps: 1e-6,
	rope_theta: 1_000_000,
	tie_word_embeddings: true,
	use_sliding_window: false,
	vocab_size: 151936,
};

const sources: Record<string, ShapeSource> = {
	"qwen2.5-1.5b": {
		source: "Qwen/Qwen2.5-1.5B-Instruct",
		json: {
			...qwen25,
			hidden_size: 1536,
			intermediate_size: 8960,
			num_hidden_layers: 28,
			num_attention_heads: 12,
			num_key_value_heads: 2,
		},
	},
	"qwen2.5-0.5b": {
		source: "Qwen/Qwen2.5-0.5B-Instruct",
		json: {
			...qwen25,
			hidden_size: 896,
			intermediate_size: 4864,
			num_hidden_layers: 24,
			num_attention_heads: 14,
			num_key_value_heads: 2,
		},
	},
	"smollm2-135m": {
		source: "HuggingFaceTB/SmolLM2-135M-Instruct",
		json: {
			architectures: ["LlamaForCausalLM"],
			model_type: "llama",
			hidden_act: "silu",
			hidden_size: 576,
			intermediate_size: 1536,
			num_hidden_layers: 30,
			num_attention_heads: 9,
			num_key_value_heads: 3,
			max_position_embeddings: 8192,
			rms_norm_eps: 1e-5,
			rope_theta: 100_000,
			tie_word_embeddings: true,
			vocab_size: 49152,
		},
	},
};

/** The names, the largest first. */
export const modelShapeNames: readonly string[] = Object.keys(sources);

export const isModelShape = (name: string): boolean => Object.hasOwn(sources, name);

/**
 * The architecture of that name.
 * @throws FintuneError E_USAGE with the nearest name
 */
export function modelShape(name: string): ModelConfig {
	const found = isModelShape(name) ? sources[name] : undefined;
	if (found) return parseModelConfig(found.json, found.source).config;
	throw unknownShape(name, "unknown model shape", modelShapeNames.join(", "));
}

/** E_USAGE for a name that is none, with the nearest one. */
export function unknownShape(name: string, summary: string, expected: string, candidates = modelShapeNames): FintuneError {
	const near = nearestName(name, candidates);
	return new FintuneError("E_USAGE", summary, { expected, found: name, ...(near ? { hint: `did you mean ${near}?` } : {}) });
}
