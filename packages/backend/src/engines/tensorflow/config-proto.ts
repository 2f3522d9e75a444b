/** The fields of TensorFlow's ConfigProto that the engine sets. */
export interface SessionConfig {
  /** Threads that share one operation. */
  readonly intraOpThreads: number;
  /** Operations that run concurrently. */
  readonly interOpThreads: number;
  /**
   * Whether Grappler rewrites graphs. The engine does not use it: it takes seconds on a large graph, and its arithmetic
   * differs from op-by-op execution in the last bits.
   */
  readonly optimizeGraphs: boolean;
  /** Whether TensorFlow merges common subexpressions and folds constants before a graph runs. */
  readonly optimizeFunctions: boolean;
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  while (rest > 0x7f) {
    bytes.push((rest & 0x7f) | 0x80);
    rest >>>= 7;
  }
  bytes.push(rest);
  return bytes;
}

export const integerField = (field: number, value: number): number[] => [...varint(field << 3), ...varint(value)];
export const messageField = (field: number, message: readonly number[]): number[] => [
  ...varint((field << 3) | 2),
  ...varint(message.length),
  ...message,
];

/** Returns the bytes of a ConfigProto (tensorflow/core/protobuf/config.proto, rewriter_config.proto). */
export function encodeConfigProto(config: SessionConfig): Uint8Array {
  const disableMetaOptimizer = integerField(19, 1);
  // OptimizerOptions.opt_level = L0, which is -1: ten bytes as a varint.
  const levelZero = messageField(3, [...varint(3 << 3), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
  const rewriting = config.optimizeGraphs ? [] : messageField(10, disableMetaOptimizer);
  const optimizing = config.optimizeFunctions ? [] : levelZero;
  const options = [...optimizing, ...rewriting];
  const graphOptions = options.length === 0 ? [] : messageField(10, options);
  return Uint8Array.from([
    ...integerField(2, config.intraOpThreads),
    ...integerField(5, config.interOpThreads),
    ...graphOptions,
  ]);
}
