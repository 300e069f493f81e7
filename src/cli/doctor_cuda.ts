/**
 * What `fintune doctor` says of GPUs: the build, the library, the driver, each GPU, and whether the environment's choices among
 * them can be met.
 * @module
 */
import { type NativeGpuInfo, resolveDevice } from "../engine/device.js";
import { kernelSettings } from "../engine/kernel_settings.js";
import { FintuneError } from "../errors.js";
import { formatBytes } from "../report/numbers.js";

type Line = [name: string, value: string];

/** What was asked for by FINTUNE_DEVICE (or --device), FINTUNE_GEMM and FINTUNE_HOPPER. */
export interface SettingsVerdict {
	/** What is no choice, or cannot be met here. */
	errors: unknown[];
	/** FINTUNE_HOPPER=1. */
	hopper: boolean;
}

/** @param device as a command takes it; undefined: FINTUNE_DEVICE */
export function judgeSettings(cuda: NativeGpuInfo, device: string | undefined, env = process.env): SettingsVerdict {
	const errors: unknown[] = [];
	const attempt = <T>(work: () => T): T | undefined => {
		try {
			return work();
		} catch (error) {
			errors.push(error);
			return undefined;
		}
	};
	attempt(() => resolveDevice(device === env.FINTUNE_DEVICE ? undefined : device));
	attempt(() => checkGemm(cuda, env.FINTUNE_GEMM ?? ""));
	return { hopper: attempt(kernelSettings.hopper) ?? false, errors };
}

function checkGemm({ build, productLibrary, whyOwnProducts }: NativeGpuInfo, found: string): void {
	if (!["", "own", "cublaslt"].includes(found)) {
		throw new FintuneError("E_ARGUMENT", "unknown library of products", {
			where: "FINTUNE_GEMM",
			expected: "own or cublaslt",
			found,
		});
	}
	if (found !== "cublaslt" || productLibrary !== null) return;
	throw new FintuneError("E_DEVICE", "cuBLASLt is insisted on, and is not there", {
		where: "FINTUNE_GEMM=cublaslt",
		found: build ? (whyOwnProducts ?? "") : "an addon without CUDA",
		hint: "FINTUNE_CUBLASLT=FILE names the library; without FINTUNE_GEMM fintune's own kernels multiply where it is absent",
	});
}

/** What multiplies on a GPU, what was passed over for it, and what it has left to others in this process. */
function productsText(cuda: NativeGpuInfo): string {
	const { productLibrary, whyOwnProducts, passedOver, productsByLibrary, productsNotOffered, firstNotOffered } = cuda;
	if (productLibrary === null) return `fintune's own kernels: ${whyOwnProducts?.split(";")[0]}`;
	const refused =
		productsNotOffered === 0
			? ""
			: `; it made ${productsByLibrary} products and did not offer ${productsNotOffered} (the first: ${firstNotOffered}), ` +
				"which fintune's own kernels made";
	return `${productLibrary}${refused}${passedOver === null ? "" : `; passed over: ${passedOver}`}`;
}

/** The build's CUDA, the driver, and a line a GPU, or why there is none. */
export function cudaLines(cuda: NativeGpuInfo, driver: string | undefined, hopper = false): Line[] {
	const { build, gpus } = cuda;
	const newer =
		build && build.driverFloorBlackwell !== build.driverFloor && build.architectures.some((a) => Number.parseInt(a, 10) >= 100)
			? `, ${build.driverFloorBlackwell} for compute capability 10 and 12`
			: "";
	const built = build
		? `CUDA ${build.toolkit} for sm_${build.architectures.join(", ")}${build.ptx ? ` and PTX of ${build.ptx}` : ""}; ` +
			`needs driver ${build.driverFloor} or newer${newer}`
		: "not in this addon";
	const known = cuda.driver > 0 ? `, up to CUDA ${Math.floor(cuda.driver / 1000)}.${(cuda.driver % 1000) / 10}` : "";
	return [
		["cuda", built],
		...(build ? [["products", productsText(cuda)] as Line] : []),
		["driver", `${driver ?? "no sign of an NVIDIA driver"}${known}`],
		...gpus.map(({ index, name, capability, multiprocessors, memoryTotal, memoryFree, refused }): Line => {
			const free = memoryFree === null ? "" : `${formatBytes(memoryFree)} free of `;
			const what = `${name}, sm_${capability}, ${multiprocessors} multiprocessors, ${free}${formatBytes(memoryTotal)}`;
			return [`cuda:${index}`, refused === null ? what : `${what}: cannot be used: ${refused}`];
		}),
		...hopperLine(cuda, hopper),
		...(cuda.reason === null || gpus.length > 0 ? [] : ([["gpu", `none: ${cuda.reason}`]] as Line[])),
	];
}

function hopperLine({ build, gpus }: NativeGpuInfo, on: boolean): Line[] {
	const can = build?.architectures.includes("90a") && gpus.some(({ capability }) => capability === 90);
	if (can)
		return [
			[
				"hopper",
				on
					? "on: attention and dense products use warpgroups"
					: "off: FINTUNE_HOPPER=1 lets attention and dense products use warpgroups",
			],
		];
	if (!on) return [];
	const why =
		build && !build.architectures.includes("90a") ? "the build has no code for 90a" : "no GPU of compute capability 9.0";
	return [["hopper", `FINTUNE_HOPPER=1 changes nothing here: ${build ? why : "the addon has no CUDA"}`]];
}
