/**
 * The one form in which texts are compared with each other.
 * @module
 */

/** Letters and digits of a text in one form: compatibility-normalised, lower case, everything else one blank. */
export function normaliseText(text: string): string {
	// Most texts are ASCII, for which the same rule is several times faster.
	if (/^[\x00-\x7f]*$/.test(text)) {
		return text
			.toLowerCase()
			.replace(/[^a-z0-9]+/g, " ")
			.trim();
	}
	return text
		.normalize("NFKC")
		.toLowerCase()
		.replace(/[^\p{L}\p{N}\p{M}]+/gu, " ")
		.trim();
}
