/**
 * How many terminal columns a text takes (wcwidth), and cutting and padding by that measure.
 * @module
 */

/** Code points of width 2: East Asian Wide and Fullwidth (Unicode UAX #11) and emoji shown as pictures; ascending ranges. */
const wide: readonly (readonly [number, number])[] = [
	[0x1100, 0x115f],
	[0x231a, 0x231b],
	[0x2329, 0x232a],
	[0x23e9, 0x23ec],
	[0x23f0, 0x23f0],
	[0x23f3, 0x23f3],
	[0x25fd, 0x25fe],
	[0x2614, 0x2615],
	[0x2648, 0x2653],
	[0x267f, 0x267f],
	[0x2693, 0x2693],
	[0x26a1, 0x26a1],
	[0x26aa, 0x26ab],
	[0x26bd, 0x26be],
	[0x26c4, 0x26c5],
	[0x26ce, 0x26ce],
	[0x26d4, 0x26d4],
	[0x26ea, 0x26ea],
	[0x26f2, 0x26f3],
	[0x26f5, 0x26f5],
	[0x26fa, 0x26fa],
	[0x26fd, 0x26fd],
	[0x2705, 0x2705],
	[0x270a, 0x270b],
	[0x2728, 0x2728],
	[0x274c, 0x274c],
	[0x274e, 0x274e],
	[0x2753, 0x2755],
	[0x2757, 0x2757],
	[0x2795, 0x2797],
	[0x27b0, 0x27b0],
	[0x27bf, 0x27bf],
	[0x2b1b, 0x2b1c],
	[0x2b50, 0x2b50],
	[0x2b55, 0x2b55],
	[0x2e80, 0x303e],
	[0x3041, 0x33ff],
	[0x3400, 0x4dbf],
	[0x4e00, 0xa4cf],
	[0xa960, 0xa97f],
	[0xac00, 0xd7a3],
	[0xf900, 0xfaff],
	[0xfe10, 0xfe19],
	[0xfe30, 0xfe6f],
	[0xff00, 0xff60],
	[0xffe0, 0xffe6],
	[0x16fe0, 0x18cff],
	[0x1b000, 0x1b2ff],
	[0x1f004, 0x1f004],
	[0x1f0cf, 0x1f0cf],
	[0x1f18e, 0x1f18e],
	[0x1f191, 0x1f19a],
	[0x1f200, 0x1f320],
	[0x1f32d, 0x1f335],
	[0x1f337, 0x1f37c],
	[0x1f37e, 0x1f393],
	[0x1f3a0, 0x1f3ca],
	[0x1f3cf, 0x1f3d3],
	[0x1f3e0, 0x1f3f0],
	[0x1f3f4, 0x1f3f4],
	[0x1f3f8, 0x1f43e],
	[0x1f440, 0x1f440],
	[0x1f442, 0x1f4fc],
	[0x1f4ff, 0x1f53d],
	[0x1f54b, 0x1f54e],
	[0x1f550, 0x1f567],
	[0x1f57a, 0x1f57a],
	[0x1f595, 0x1f596],
	[0x1f5a4, 0x1f5a4],
	[0x1f5fb, 0x1f64f],
	[0x1f680, 0x1f6c5],
	[0x1f6cc, 0x1f6cc],
	[0x1f6d0, 0x1f6d2],
	[0x1f6d5, 0x1f6d7],
	[0x1f6dc, 0x1f6df],
	[0x1f6eb, 0x1f6ec],
	[0x1f6f4, 0x1f6fc],
	[0x1f7e0, 0x1f7eb],
	[0x1f7f0, 0x1f7f0],
	[0x1f90c, 0x1f93a],
	[0x1f93c, 0x1f945],
	[0x1f947, 0x1f9ff],
	[0x1fa70, 0x1faff],
	[0x20000, 0x3fffd],
];

let segmenter: Intl.Segmenter | undefined;

/** The graphemes of a text; what finds them takes long to make, and most commands need none. */
function graphemesOf(text: string): Intl.Segments {
	segmenter ??= new Intl.Segmenter("en", { granularity: "grapheme" });
	return segmenter.segment(text);
}

const plainAscii = /^[\x20-\x7e]*$/;
/** Control, combining and format characters take no column of their own. */
const zeroWidth = /^[\p{Cc}\p{Mn}\p{Me}\p{Cf}\u1160-\u11ff]$/u;

/** Two regional indicators make one flag. */
const flag = /^\p{Regional_Indicator}{2}/u;

function isWide(codePoint: number): boolean {
	let low = 0;
	let high = wide.length - 1;
	while (low <= high) {
		const middle = (low + high) >> 1;
		const [first, last] = wide[middle] as readonly [number, number];
		if (codePoint < first) high = middle - 1;
		else if (codePoint > last) low = middle + 1;
		else return true;
	}
	return false;
}

/** Columns of one grapheme: those of its base, 2 where a variation selector asks for a picture. */
function graphemeWidth(grapheme: string): number {
	if (grapheme.includes("\ufe0f") || flag.test(grapheme)) return 2;
	for (const character of grapheme) {
		if (zeroWidth.test(character)) continue;
		return isWide(character.codePointAt(0) as number) ? 2 : 1;
	}
	return 0;
}

/** Terminal columns of a text without escape sequences. */
export function displayWidth(text: string): number {
	if (plainAscii.test(text)) return text.length;
	let width = 0;
	for (const { segment } of graphemesOf(text)) width += graphemeWidth(segment);
	return width;
}

/** `text` itself if it fits into `width` columns, else its beginning and an ellipsis, in at most `width` columns. */
export function fitWidth(text: string, width: number): string {
	if (displayWidth(text) <= width) return text;
	if (width < 1) return "";
	let kept = "";
	let used = 0;
	for (const { segment } of graphemesOf(text)) {
		const columns = graphemeWidth(segment);
		if (used + columns > width - 1) break;
		kept += segment;
		used += columns;
	}
	return `${kept}…`;
}

/** As `fitWidth`, but cut in the middle: names that differ at their end (check.2, check.3) stay apart. */
export function fitMiddle(text: string, width: number): string {
	if (displayWidth(text) <= width || width < 3) return fitWidth(text, width);
	const graphemes = [...graphemesOf(text)].map(({ segment }) => segment);
	let tail = "";
	for (let grapheme = graphemes.pop(); grapheme !== undefined; grapheme = graphemes.pop()) {
		if (displayWidth(grapheme + tail) > Math.floor((width - 1) / 2)) break;
		tail = grapheme + tail;
	}
	return fitWidth(text, width - displayWidth(tail)) + tail;
}

/** Pads with spaces to `width` columns, on the side away from `align`. */
export function padWidth(text: string, width: number, align: "left" | "right" = "left"): string {
	const space = " ".repeat(Math.max(0, width - displayWidth(text)));
	return align === "left" ? text + space : space + text;
}
