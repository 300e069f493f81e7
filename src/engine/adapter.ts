/**
 * LoRA adapters in PEFT format: read, write, make, fold.
 * @module
 */
import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { FintuneError, fromSystemError, nearestName } from "../errors.js";
import { hashText, philox4x32 } from "../philox.js";
import { parseLoraConfig, patternValue, peftConfig, peftRefusals } from "./adapter_config.js";
import { makeFolder, readJsonObject, writeFileAtomic } from "./files.js";
import { type LinearName, linearModules, linearNames } from "./modules.js";
import { readSafetensors, writeSafetensors } from "./safetensors.js";
import type { Adapter, InitAdapterOptions, LoraConfig, LoraModule, ModelConfig } from "./types.js";

const prefix = "base_model.model.";

/** `base_model.model.X.lora_A.weight` to `X.lora_A.weight`; other names unchanged. */
export const moduleOfTensor = (name: string): string => (name.startsWith(prefix) ? name.slice(prefix.length) : name);

/** alpha / r, or alpha / sqrt(r) (Kalajdzievski 2023). */
export const loraScale = (r: number, alpha: number, useRslora: boolean): number => alpha / (useRslora ? Math.sqrt(r) : r);

const lastPart = (name: string): string => name.slice(name.lastIndexOf(".") + 1);

/**
 * Reads a PEFT folder. The tensors decide which modules are adapted; r, alpha, use_rslora and their patterns give the
 * scales, and must agree with the tensors' ranks.
 * @param model what it must fit; without it the shapes are taken from the tensors alone
 * @throws FintuneError E_ADAPTER naming file, key or tensor, for what does not fit the model, and for DoRA,
 * modules_to_save, biases, adapted embeddings and other things that fintune does not compute; E_NOT_FOUND; E_WEIGHTS
 */
export async function loadAdapter(dir: string, model?: ModelConfig): Promise<Adapter> {
	const configFile = join(dir, "adapter_config.json");
	if (!existsSync(configFile)) {
		throw new FintuneError("E_NOT_FOUND", "not an adapter folder", {
			where: dir,
			expected: "adapter_config.json and adapter_model.safetensors (PEFT)",
			found: existsSync(dir) ? "no adapter_config.json" : "no such folder",
		});
	}
	const json = await readJsonObject(configFile, "E_ADAPTER");
	const config = parseLoraConfig(json, configFile);
	const file = join(dir, "adapter_model.safetensors");
	if (!existsSync(file)) {
		const pickle = existsSync(join(dir, "adapter_model.bin"));
		throw new FintuneError("E_NOT_FOUND", "the adapter has no adapter_model.safetensors", {
			where: dir,
			...(pickle ? { found: "adapter_model.bin, which is a pickle", hint: "save it with PEFT as safetensors" } : {}),
		});
	}
	const factors = await readFactors(file);
	const known = new Map(model && linearModules(model).map((m) => [m.name, m]));
	const modules: LoraModule[] = [];
	for (const [name, { a, b }] of factors) {
		const shape = known.get(name);
		if (model ? !shape : !linearNames.includes(lastPart(name) as LinearName)) throw unknownModule(name, file, known.keys());
		if (!a || !b) {
			throw new FintuneError("E_ADAPTER", `tensor ${prefix}${name}.lora_${a ? "B" : "A"}.weight is missing`, { where: file });
		}
		const r = patternValue(config.rankPattern, name, configFile) ?? config.r;
		const alpha = patternValue(config.alphaPattern, name, configFile) ?? config.alpha;
		const inFeatures = shape?.inFeatures ?? a.shape[1] ?? 0;
		const outFeatures = shape?.outFeatures ?? b.shape[0] ?? 0;
		checkShape(`${name}.lora_A`, a.shape, [r, inFeatures], file);
		checkShape(`${name}.lora_B`, b.shape, [outFeatures, r], file);
		modules.push({ name, r, inFeatures, outFeatures, scale: loraScale(r, alpha, config.useRslora), a: a.data, b: b.data });
	}
	modules.sort((x, y) => byPlace(x.name, y.name));
	const targetModules = [...new Set(modules.map((m) => lastPart(m.name)))].sort();
	const baseModel = typeof json.base_model_name_or_path === "string" ? json.base_model_name_or_path : undefined;
	return { baseModel, config: { ...config, targetModules }, modules };
}

interface Factors {
	a?: { shape: number[]; data: Float32Array };
	b?: { shape: number[]; data: Float32Array };
}

async function readFactors(file: string): Promise<Map<string, Factors>> {
	const factors = new Map<string, Factors>();
	for (const [name, tensor] of await readSafetensors(file)) {
		const [, module, which] = /^base_model\.model\.(.+)\.lora_([AB])\.weight$/.exec(name) ?? [];
		if (module === undefined) throw unknownTensor(name, file);
		const pair = factors.get(module) ?? {};
		pair[which === "A" ? "a" : "b"] = tensor;
		factors.set(module, pair);
	}
	if (factors.size === 0) throw new FintuneError("E_ADAPTER", "the adapter has no tensors", { where: file });
	return factors;
}

function unknownTensor(name: string, file: string): FintuneError {
	for (const [part, what] of peftRefusals.tensors) {
		if (name.includes(part)) return new FintuneError("E_ADAPTER", `${what} is not supported`, { where: `${file}: ${name}` });
	}
	return new FintuneError("E_ADAPTER", `tensor ${name} is not a LoRA factor`, {
		where: file,
		expected: `${prefix}<module>.lora_A.weight or .lora_B.weight`,
	});
}

function unknownModule(name: string, file: string, known: Iterable<string>): FintuneError {
	if (["lm_head", "embed_tokens"].includes(lastPart(name))) {
		return new FintuneError("E_ADAPTER", `an adapter on ${name} is not supported`, {
			where: file,
			expected: linearNames.join(", "),
		});
	}
	const near = nearestName(name, known);
	return new FintuneError("E_ADAPTER", `the model has no linear ${name}`, {
		where: file,
		hint: near ? `nearest: ${near}; is this adapter for another model?` : "is this adapter for another model?",
	});
}

function checkShape(name: string, found: readonly number[], expected: readonly number[], where: string): void {
	if (found.length === expected.length && found.every((s, i) => s === expected[i])) return;
	throw new FintuneError("E_ADAPTER", `tensor ${name} has another shape than the model and adapter_config.json say`, {
		where,
		expected: `[${expected.join(", ")}]`,
		found: `[${found.join(", ")}]`,
	});
}

/** @throws FintuneError E_ADAPTER naming the module that does not fit */
export function checkAdapterFits(adapter: Adapter, model: ModelConfig): void {
	const known = new Map(linearModules(model).map((m) => [m.name, m]));
	for (const m of adapter.modules) {
		const shape = known.get(m.name);
		if (!shape) throw unknownModule(m.name, "adapter", known.keys());
		checkShape(`${m.name}.lora_A`, [m.a.length / m.r, m.r], [shape.inFeatures, m.r], "adapter");
		checkShape(`${m.name}.lora_B`, [m.b.length / m.r, m.r], [shape.outFeatures, m.r], "adapter");
	}
}

/**
 * Writes a PEFT folder: adapter_model.safetensors (f32), README.md, adapter_config.json last, so that a folder that was
 * interrupted is no adapter. Equal adapters give equal bytes; nothing in them tells time or place.
 * @param options.baseModel a hub id or a plain name; of a path only the last part is written
 */
export async function saveAdapter(dir: string, adapter: Adapter, options: { baseModel: string }): Promise<void> {
	const label = modelLabel(options.baseModel);
	const text = (s: string) => [new TextEncoder().encode(s)];
	const tensors = new Map<string, { shape: number[]; data: Float32Array }>();
	for (const m of adapter.modules) {
		tensors.set(`${prefix}${m.name}.lora_A.weight`, { shape: [m.r, m.inFeatures], data: m.a });
		tensors.set(`${prefix}${m.name}.lora_B.weight`, { shape: [m.outFeatures, m.r], data: m.b });
	}
	const configFile = join(dir, "adapter_config.json");
	try {
		await makeFolder(dir);
		await rm(configFile, { force: true });
	} catch (error) {
		throw fromSystemError(error, dir);
	}
	await writeSafetensors(join(dir, "adapter_model.safetensors"), tensors, { format: "pt" });
	await writeFileAtomic(join(dir, "README.md"), text(modelCard(label, adapter)));
	await writeFileAtomic(configFile, text(`${JSON.stringify(peftConfig(adapter.config, label), null, 2)}\n`));
}

/** A hub id as it is; of a path its last part. */
export function modelLabel(name: string): string {
	const isHubId = /^[\w.-]+\/[\w.-]+$/.test(name) && !/^\.{1,2}\//.test(name);
	return isHubId ? name : (name.split(/[\\/]/).filter(Boolean).at(-1) ?? name);
}

function modelCard(label: string, adapter: Adapter): string {
	const { r, alpha, useRslora, targetModules, rankPattern } = adapter.config;
	const ranks = Object.keys(rankPattern).length > 0 ? "rank by module (rank_pattern)" : `rank ${r}`;
	return `---
base_model: ${JSON.stringify(label)}
library_name: peft
pipeline_tag: text-generation
tags:
- lora
- fintune
---

# LoRA adapter for ${label}

Made by fintune: ${ranks}, alpha ${alpha}${useRslora ? ", rank-stabilised scale alpha / sqrt(r)" : ""}, on ${targetModules.join(", ")}.

\`\`\`python
from peft import PeftModel
from transformers import AutoModelForCausalLM

base = AutoModelForCausalLM.from_pretrained(${JSON.stringify(label)})
model = PeftModel.from_pretrained(base, "PATH/OF/THIS/FOLDER")
\`\`\`
`;
}

/**
 * A new adapter: A uniform in +-1/sqrt(in) (PEFT's initialisation: Kaiming with a = sqrt(5)), B = 0, so that it changes
 * nothing yet. A value depends on (seed, module name, element) only.
 * @throws FintuneError E_ARGUMENT for a rank, alpha or module name that makes no sense
 */
export function initAdapter(model: ModelConfig, options: InitAdapterOptions): Adapter {
	const { r, alpha, seed = 0, useRslora = false, dropout = 0, targetModules = "all-linear" } = options;
	const check = (ok: boolean, where: string, expected: string, found: unknown) => {
		if (!ok) throw new FintuneError("E_ARGUMENT", "not usable for an adapter", { where, expected, found: String(found) });
	};
	check(Number.isSafeInteger(r) && r > 0, "r", "a whole number > 0", r);
	check(Number.isFinite(alpha) && alpha > 0, "alpha", "a number > 0", alpha);
	check(Number.isSafeInteger(seed) && seed >= 0, "seed", "a whole number >= 0", seed);
	check(dropout >= 0 && dropout < 1, "dropout", "0 <= dropout < 1", dropout);
	const targets = targetModules === "all-linear" ? [...linearNames] : [...new Set(targetModules)];
	check(targets.length > 0, "targetModules", linearNames.join(", "), "an empty list");
	for (const name of targets) {
		if (linearNames.includes(name as LinearName)) continue;
		const near = nearestName(name, linearNames);
		throw new FintuneError("E_ARGUMENT", `no linear is called ${name}`, {
			where: "targetModules",
			expected: linearNames.join(", "),
			...(near ? { hint: `was ${near} meant?` } : {}),
		});
	}
	const modules = linearModules(model)
		.filter((m) => targets.includes(m.linear))
		.map(
			({ name, inFeatures, outFeatures }): LoraModule => ({
				name,
				r,
				inFeatures,
				outFeatures,
				scale: loraScale(r, alpha, useRslora),
				a: uniform(r * inFeatures, 1 / Math.sqrt(inFeatures), seed, name),
				b: new Float32Array(outFeatures * r),
			}),
		);
	const config: LoraConfig = { r, alpha, useRslora, targetModules: targets.sort(), rankPattern: {}, alphaPattern: {}, dropout };
	return { config, modules };
}

function uniform(count: number, bound: number, seed: number, name: string): Float32Array {
	const values = new Float32Array(count);
	const key = [seed >>> 0, Math.floor(seed / 2 ** 32)];
	const [high, low] = [hashText(name), hashText(name, 0x01234567)];
	for (let i = 0; i < count; i += 4) {
		const bits = philox4x32([(i / 4) >>> 0, high, low, 0x4c6f5241], key);
		for (let j = 0; j < 4 && i + j < count; j++) values[i + j] = (((bits[j] as number) >>> 8) * 2 ** -23 - 1) * bound;
	}
	return values;
}

/**
 * One adapter that does what the stack does: per module the ranks concatenate and the scales go into B, whose own scale
 * is then 1. Exact up to the rounding of B times scale (none where the scales are powers of two). A stack of one is
 * returned unchanged.
 * @throws FintuneError E_ARGUMENT for an empty stack
 */
export function foldAdapters(stack: readonly Adapter[]): Adapter {
	const [bottom] = stack;
	if (!bottom) throw new FintuneError("E_ARGUMENT", "an empty stack cannot be folded into an adapter");
	if (stack.length === 1) return bottom;
	const parts = new Map<string, LoraModule[]>();
	for (const adapter of stack) {
		for (const m of adapter.modules) parts.set(m.name, [...(parts.get(m.name) ?? []), m]);
	}
	const modules = [...parts.values()].map(foldModule).sort((x, y) => byPlace(x.name, y.name));
	const r = Math.max(...modules.map((m) => m.r));
	// PEFT looks modules up by the end of their name: one entry serves all layers where they agree.
	const rankPattern: Record<string, number> = {};
	for (const linear of new Set(modules.map((m) => lastPart(m.name)))) {
		const same = modules.filter((m) => lastPart(m.name) === linear);
		const uniformRank = same.every((m) => m.r === same[0]?.r);
		for (const m of uniformRank ? same.slice(0, 1) : same) {
			if (m.r !== r) rankPattern[uniformRank ? linear : m.name] = m.r;
		}
	}
	const config: LoraConfig = {
		r,
		alpha: r,
		useRslora: false,
		targetModules: [...new Set(modules.map((m) => lastPart(m.name)))].sort(),
		rankPattern,
		// Scale alpha / r = 1 everywhere.
		alphaPattern: { ...rankPattern },
		dropout: 0,
	};
	return { config, modules };
}

/**
 * Folds adapter folders (bottom first) into one folder. It names the base that the topmost of them names.
 * @throws FintuneError as {@link loadAdapter} and {@link saveAdapter}; E_ADAPTER when two of them disagree on a shape
 */
export async function foldAdapterFolders(dirs: readonly string[], out: string): Promise<void> {
	const stack: Adapter[] = [];
	for (const dir of dirs) stack.push(await loadAdapter(dir));
	const shapes = new Map<string, LoraModule>();
	for (const [i, adapter] of stack.entries()) {
		for (const m of adapter.modules) {
			const other = shapes.get(m.name) ?? m;
			checkShape(m.name, [m.outFeatures, m.inFeatures], [other.outFeatures, other.inFeatures], dirs[i] as string);
			shapes.set(m.name, other);
		}
	}
	await saveAdapter(out, foldAdapters(stack), { baseModel: stack.at(-1)?.baseModel ?? "unknown" });
}

function foldModule(parts: readonly LoraModule[]): LoraModule {
	const { name, inFeatures, outFeatures } = parts[0] as LoraModule;
	const r = parts.reduce((sum, p) => sum + p.r, 0);
	const a = new Float32Array(r * inFeatures);
	const b = new Float32Array(outFeatures * r);
	let first = 0;
	for (const part of parts) {
		a.set(part.a, first * inFeatures);
		for (let row = 0; row < outFeatures; row++) {
			for (let k = 0; k < part.r; k++) b[row * r + first + k] = (part.b[row * part.r + k] as number) * part.scale;
		}
		first += part.r;
	}
	return { name, r, inFeatures, outFeatures, scale: 1, a, b };
}

/** By layer, then in the order in which the model runs them. */
function byPlace(x: string, y: string): number {
	const layer = (name: string) => Number(/\.layers\.(\d+)\./.exec(name)?.[1] ?? 0);
	const linear = (name: string) => linearNames.indexOf(lastPart(name) as LinearName);
	return layer(x) - layer(y) || linear(x) - linear(y);
}
