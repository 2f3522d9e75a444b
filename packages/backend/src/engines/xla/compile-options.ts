import { encodeUtf8 } from './pjrt.js';

/** How a module is compiled. */
export interface CompileChoice {
  /** Whether LLVM's optimizations, a third of the compile time, are skipped: for modules with little work. */
  readonly unoptimized?: boolean;
  /** Replicas that run at once, each on its own device; one by default. */
  readonly replicas?: number;
  /** Whether an execution chooses the device. Otherwise the module runs on the first. */
  readonly portable?: boolean;
}

const varint = (value: number): number[] => (value < 128 ? [value] : [(value & 127) | 128, ...varint(value >>> 7)]);
const bytesField = (number: number, bytes: readonly number[]): number[] => [
  ...varint(8 * number + 2),
  ...varint(bytes.length),
  ...bytes,
];
const numberField = (number: number, value: number): number[] => [...varint(8 * number), ...varint(value)];

/** Encodes a flag of XLA for this module: field 7 is a map from the name to a value with one field per kind. */
const flag = (name: string, value: number | boolean): number[] =>
  bytesField(7, [
    ...bytesField(1, [...encodeUtf8(name)]),
    ...bytesField(2, typeof value === 'boolean' ? numberField(2, Number(value)) : numberField(3, value)),
  ]);

/**
 * Returns the bytes of XLA's CompileOptionsProto. Only the CPU platform gets flags. There, the maximum and minimum of
 * numbers with a NaN is NaN, as in tfjs-core.
 */
export function compileOptions(
  platform: string,
  { unoptimized = false, replicas = 1, portable = false }: CompileChoice,
): Uint8Array {
  const cpu = platform === 'cpu';
  return Uint8Array.from([
    ...bytesField(3, [...numberField(4, replicas), ...numberField(5, 1)]),
    ...(portable ? numberField(4, 1) : []),
    ...(cpu ? flag('xla_cpu_enable_fast_min_max', false) : []),
    ...(cpu && unoptimized ? flag('xla_backend_optimization_level', 0) : []),
  ]);
}
