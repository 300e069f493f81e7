/**
 * A disk that may lose power: what was written since the last fsync of a file, and what was made, renamed or removed since
 * the last fsync of a folder, may or may not be there afterwards.
 *
 * It is harsher than the journals of ext4, XFS and btrfs: it keeps or loses every change of a folder by itself, in any
 * combination. What POSIX systems do promise, it does: a rename is not half done, and of one name the later change wins.
 * @module
 */
import { constants, mkdirSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import type { Call } from "./record.js";

/** A change to a folder: names, each with what it means from then on. */
interface Change {
	/** Counts all changes of the disk. */
	number: number;
	entries: [name: string, node: Node | undefined][];
}

class Folder {
	readonly entries = new Map<string, Node>();
	/** As of the last fsync. */
	synced = new Map<string, Node>();
	since: Change[] = [];
}

type Write = { offset: number; bytes: Buffer } | { size: number };

class File {
	content: Buffer = Buffer.alloc(0);
	synced: Buffer = Buffer.alloc(0);
	since: Write[] = [];
}

type Node = Folder | File;

/** What the power cut does to that which is not synced. */
export interface Fate {
	/** Whether a change of a folder is kept. */
	change(number: number): boolean;
	/** What is left of a file: "synced" what it was, "all" of it, or a part. */
	file(): "synced" | "all" | "part";
	/** A whole number below a limit. */
	below(limit: number): number;
}

const sector = 512;
const block = 4096;

function applied(content: Buffer, write: Write): Buffer {
	if ("size" in write) {
		const cut = Buffer.alloc(write.size);
		content.copy(cut, 0, 0, Math.min(write.size, content.length));
		return cut;
	}
	const end = write.offset + write.bytes.length;
	const grown = end > content.length ? Buffer.concat([content, Buffer.alloc(end - content.length)]) : content;
	write.bytes.copy(grown, write.offset);
	return grown;
}

export class Disk {
	readonly #root: string;
	readonly #top = new Folder();
	readonly #open = new Map<number, Node>();
	#changes = 0;

	/** @param root the folder below which everything happened; it is there and empty */
	constructor(root: string) {
		this.#root = root;
	}

	/** Changes of folders so far. */
	get changes(): number {
		return this.#changes;
	}

	#at(path: string): Node | undefined {
		if (path === this.#root) return this.#top;
		const above = this.#at(dirname(path));
		return above instanceof Folder ? above.entries.get(basename(path)) : undefined;
	}

	#folder(path: string): Folder {
		const node = this.#at(path);
		if (!(node instanceof Folder)) throw new Error(`the record knows no folder ${path}`);
		return node;
	}

	#change(folder: Folder, entries: Change["entries"]): void {
		folder.since.push({ number: ++this.#changes, entries });
		for (const [name, node] of entries) {
			if (node) folder.entries.set(name, node);
			else folder.entries.delete(name);
		}
	}

	do(call: Call): void {
		switch (call.name) {
			case "open": {
				let node = this.#at(call.path);
				if (!node) {
					node = new File();
					this.#change(this.#folder(dirname(call.path)), [[basename(call.path), node]]);
				}
				if (node instanceof File && call.flags & constants.O_TRUNC && node.content.length > 0) this.#write(node, { size: 0 });
				this.#open.set(call.fd, node);
				return;
			}
			case "write":
				this.#write(this.#opened(call.fd), call);
				return;
			case "truncate":
				this.#write(this.#opened(call.fd), { size: call.size });
				return;
			case "sync": {
				const node = this.#open.get(call.fd)!;
				if (node instanceof File) node.synced = Buffer.from(node.content);
				else node.synced = new Map(node.entries);
				node.since = [];
				return;
			}
			case "mkdir":
				this.#change(this.#folder(dirname(call.path)), [[basename(call.path), new Folder()]]);
				return;
			case "remove":
				this.#change(this.#folder(dirname(call.path)), [[basename(call.path), undefined]]);
				return;
			case "rename": {
				if (dirname(call.from) !== dirname(call.to)) throw new Error(`not modelled: ${call.from} renamed to ${call.to}`);
				this.#change(this.#folder(dirname(call.to)), [
					[basename(call.from), undefined],
					[basename(call.to), this.#at(call.from)!],
				]);
			}
		}
	}

	#opened(fd: number): File {
		const node = this.#open.get(fd);
		if (!(node instanceof File)) throw new Error(`the record knows no file behind descriptor ${fd}`);
		return node;
	}

	#write(file: File, write: Write): void {
		file.content = applied(file.content, write);
		file.since.push(write);
	}

	/** Files by path below `path` as the programs see them. */
	files(path: string): Map<string, Buffer> {
		const found = new Map<string, Buffer>();
		const walk = (folder: Folder, prefix: string): void => {
			for (const [name, node] of folder.entries) {
				if (node instanceof File) found.set(join(prefix, name), node.content);
				else walk(node, join(prefix, name));
			}
		};
		walk(this.#folder(path), "");
		return found;
	}

	/** Writes what is found after a power cut at this moment into a folder. */
	powerCut(fate: Fate, into: string): void {
		const make = (folder: Folder, path: string): void => {
			mkdirSync(path, { recursive: true });
			const entries = new Map(folder.synced);
			for (const change of folder.since) {
				if (!fate.change(change.number)) continue;
				for (const [name, node] of change.entries) {
					if (node) entries.set(name, node);
					else entries.delete(name);
				}
			}
			for (const [name, node] of entries) {
				if (node instanceof File) writeFileSync(join(path, name), left(node, fate));
				else make(node, join(path, name));
			}
		};
		make(this.#top, into);
	}
}

/** The bytes of a file after a power cut. */
function left(file: File, fate: Fate): Buffer {
	if (file.since.length === 0) return file.content;
	const kind = fate.file();
	if (kind !== "part") return kind === "all" ? file.content : file.synced;
	// The first writes, the last of them up to a sector ...
	const count = fate.below(file.since.length + 1);
	let content = Buffer.from(file.synced);
	for (const write of file.since.slice(0, count)) content = applied(Buffer.from(content), write);
	const torn = file.since[count];
	if (torn && "bytes" in torn) {
		const length = Math.min(torn.bytes.length, sector * fate.below(Math.floor(torn.bytes.length / sector) + 2));
		content = applied(Buffer.from(content), { offset: torn.offset, bytes: torn.bytes.subarray(0, length) });
	}
	// ... and of these some blocks never arrived, though the file has the length that they gave it.
	if (fate.below(2) === 0) return content;
	for (let at = 0; at < content.length; at += block) {
		const end = Math.min(at + block, content.length);
		const before = file.synced.subarray(at, end);
		if (content.subarray(at, end).equals(before) || fate.below(2) === 0) continue;
		content.fill(0, at, end);
		before.copy(content, at);
	}
	return content;
}
