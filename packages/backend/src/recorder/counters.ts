/** Numbers about what a backend has done since it was made. */
export interface BackendCounters {
  /** Graphs handed to the engine. */
  readonly graphs: number;
  /** Operations in them. */
  readonly nodes: number;
  /** Programs compiled; on static shapes once for each set of shapes. */
  readonly compiles: number;
  /** Graphs that found themselves compiled: `graphs` = these + those that had to be compiled + `eagerGraphs`. */
  readonly cacheHits: number;
  /** Graphs and operations that ran op by op. */
  readonly eagerGraphs: number;
  readonly eagerOps: number;
  /** Everything the host gave: tensors, and shapes and scalars the first time they are seen. */
  readonly hostToDeviceBytes: number;
  /**
   * Tensors that are on the device now, and the most there were: what an operation needs in between is not seen from
   * here.
   */
  readonly deviceBytes: number;
  readonly peakDeviceBytes: number;
}
