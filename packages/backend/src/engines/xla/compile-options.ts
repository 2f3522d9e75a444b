import { bytesOf } from './pjrt.js';

/** How a module is compiled. */
export interface CompileChoice {
  /** Without LLVM's optimisations, which are a third of the compiling: for what runs in no time anyway. */
  readonly hastily?: boolean;
  /** Copies that run at once, each on a device of its own; one by default. */
  readonly replicas?: number;
  /** Whether the module is to run on whichever device an execution names. */
  readonly portable?: boolean;
}

const varint = (value: number): number[] => (value < 128 ? [value] : [(value & 127) | 128, ...varint(value >>> 7)]);
const bytesField = (number: number, bytes: readonly number[]): number[] => [
  ...varint(8 * number + 2),
  ...varint(bytes.length),
  ...bytes,
];
const numberField = (number: number, value: number): number[] => [...varint(8 * number), ...varint(value)];

/** One of XLA's flags for this module only: field 7 is a map from name to a value that has a field for each kind. */
const flag = (name: string, value: number | boolean): number[] =>
  bytesField(7, [
    ...bytesField(1, [...bytesOf(name)]),
    ...bytesField(2, typeof value === 'boolean' ? numberField(2, Number(value)) : numberField(3, value)),
  ]);

/**
 * XLA's CompileOptionsProto. On CPUs the largest of numbers among which one is NaN is NaN, as tfjs-core has it. Flags
 * that begin with `xla_cpu` are known to XLA's CPU compiler; no other platform is given any.
 */
export function compileOptions(
  platform: string,
  { hastily = false, replicas = 1, portable = false }: CompileChoice,
): Uint8Array {
  const cpu = platform === 'cpu';
  return Uint8Array.from([
    ...bytesField(3, [...numberField(4, replicas), ...numberField(5, 1)]),
    ...(portable ? numberField(4, 1) : []),
    ...(cpu ? flag('xla_cpu_enable_fast_min_max', false) : []),
    ...(cpu && hastily ? flag('xla_backend_optimization_level', 0) : []),
  ]);
}
