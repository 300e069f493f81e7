/**
 * Addresses without what must stay secret. A hook's address is a key: user and password, query, and with most services the
 * path as well; only scheme and host are shown.
 * @module
 */
import type { PipelineConfig } from "../schema.js";

const address = /\bhttps?:\/\/[^\s"'`<>|;)]+/gi;

/** A text with every web address in it cut to `https://host/***`. */
export const maskAddresses = (text: string): string =>
	text.replace(address, (found) => {
		try {
			return `${new URL(found).origin}/***`;
		} catch {
			return "https://***";
		}
	});

/** A pipeline's config as it may be written down and shown. */
export function maskedConfig<Config extends Pick<PipelineConfig, "hooks">>(config: Config): Config {
	if (config.hooks === undefined) return config;
	const hooks = Object.entries(config.hooks).map(([name, hook]) => [
		name,
		typeof hook === "object" ? { command: maskAddresses(hook.command) } : maskAddresses(hook),
	]);
	return { ...config, hooks: Object.fromEntries(hooks) as Config["hooks"] };
}
