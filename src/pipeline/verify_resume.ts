/**
 * `--verify-resume`: a finished training stage is replayed from its oldest checkpoint beside itself, and what it leaves must
 * be the same bytes. Shows on this machine, with this data, that an interruption would not have changed the result.
 * @module
 */
import { cp } from "node:fs/promises";
import { join } from "node:path";
import { temporaryPath } from "../engine/files.js";
import { FintuneError } from "../errors.js";
import { checkpointsFolder, storedCheckpoints } from "../stages/checkpoint.js";
import { makeFolder, removeFolder } from "../stages/files.js";
import { type Manifest, writeManifest } from "../stages/manifest.js";
import { isContent } from "./identity.js";

/**
 * Replays a stage. The scratch folder lies beside the stage's and is removed; one that a killed run leaves behind goes with
 * the other leftovers at the next start.
 * @param folder the finished stage's
 * @param replay runs the stage in another folder, where it finds the checkpoint
 * @returns the checkpoint's name; undefined where there is none to begin from
 * @throws FintuneError E_CHECKSUM naming the files that differ
 */
export async function verifyResume(
	folder: string,
	manifest: Manifest,
	replay: (scratch: string) => Promise<unknown>,
): Promise<string | undefined> {
	const oldest = (await storedCheckpoints(join(folder, checkpointsFolder))).at(-1)?.name;
	if (oldest === undefined) return undefined;
	const scratch = temporaryPath(folder);
	try {
		await makeFolder(join(scratch, checkpointsFolder));
		await cp(join(folder, checkpointsFolder, oldest), join(scratch, checkpointsFolder, oldest), { recursive: true });
		await replay(scratch);
		const replayed = await writeManifest(scratch, checkpointsFolder);
		const names = [...new Set([...Object.keys(manifest.files), ...Object.keys(replayed.files)])].filter(isContent);
		const differing = names.filter((name) => manifest.files[name]?.sha256 !== replayed.files[name]?.sha256);
		if (differing.length === 0) return oldest;
		throw new FintuneError("E_CHECKSUM", `replayed from ${oldest}, the stage ends with other bytes`, {
			where: folder,
			found: differing.join(", "),
			hint: "was it trained by another build, device or number of threads? the checkpoint's trainer_state.json says which",
		});
	} finally {
		await removeFolder(scratch);
	}
}
