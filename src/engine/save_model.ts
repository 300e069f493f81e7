/**
 * A whole model as a Hugging Face folder: trained parameters with the config, tokenizer and template of their base.
 * @module
 */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fromSystemError } from "../errors.js";
import { makeFolder, readJsonObject, writeFileAtomic } from "./files.js";
import type { Model } from "./model.js";
import { writeSafetensors } from "./safetensors.js";
import type { NamedTensor } from "./types.js";

/** Copied byte for byte, so that other programs tokenise as fintune did. */
const companions =
	/^(tokenizer.*\.(json|model)|special_tokens_map\.json|added_tokens\.json|vocab\.json|merges\.txt|chat_template\.(jinja|json)|generation_config\.json|LICENSE.*)$/;

/**
 * Writes model.safetensors (f32), config.json and the tokenizer's files. config.json is written last.
 * @param parameters every parameter of the model, named as in its weight file
 * @throws FintuneError E_IO, E_PERMISSION, E_CANNOT_CREATE naming the file
 */
export async function saveModel(model: Model, parameters: readonly NamedTensor[], dir: string): Promise<void> {
	try {
		await makeFolder(dir);
		for (const name of (await readdir(model.dir)).filter((n) => companions.test(n)).sort()) {
			await writeFileAtomic(join(dir, name), [await readFile(join(model.dir, name))]);
		}
	} catch (error) {
		throw fromSystemError(error, dir);
	}
	await writeSafetensors(join(dir, "model.safetensors"), new Map(parameters.map((p) => [p.name, p])));
	const config = { ...(await readJsonObject(join(model.dir, "config.json"), "E_MODEL_CONFIG")) };
	// Both spellings are read (transformers 4 and 5); only the one that is there is kept true.
	if ("dtype" in config) config.dtype = "float32";
	else config.torch_dtype = "float32";
	await writeFileAtomic(join(dir, "config.json"), [Buffer.from(`${JSON.stringify(config, null, 2)}\n`)]);
}
