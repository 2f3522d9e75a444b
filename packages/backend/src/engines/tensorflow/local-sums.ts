import { toError } from '@whetstone/core/util';
import { startLocalExchange, type LocalExchange, type PendingSum } from '../../collectives/local/local-exchange.js';
import type { EngineCollective, EngineTensor } from '../engine.js';
import type { AsyncExecution } from './async-execution.js';
import type { ExecutionContext } from './execution-context.js';
import type { Pointer, TensorflowLibrary } from './library.js';
import type { ServerDefinition } from './server-def.js';
import { Status } from './status.js';
import { allocate, upload } from './tensors.js';
import type { Work } from './work-queue.js';

/**
 * Returns this process as one of several on this machine. TensorFlow's server would listen on all interfaces, so
 * gradients are summed by an exchange of our own, between TensorFlow's graphs.
 *
 * @param add queues work and returns its results
 */
export function createLocalCollective(
  library: TensorflowLibrary,
  context: ExecutionContext,
  { addresses, rank }: ServerDefinition,
  local: NonNullable<ServerDefinition['local']>,
  add: (work: Work) => EngineTensor[],
): EngineCollective {
  const exchange = startLocalExchange({ addresses, rank, ...local });
  return {
    addresses,
    rank,
    abort: exchange.abort,
    local: {
      ready: exchange.opened,
      sum: (inputs, shapes) => {
        const start = (pointers: readonly Pointer[]): AsyncExecution =>
          startSum(library, context, exchange, pointers, shapes);
        return add({
          // Never submitted at once: it would block the event loop.
          compiled: { warm: false, build: () => true, use: () => undefined, endUse: () => undefined },
          inputs,
          results: inputs.length + 1,
          run: (pointers) => start(pointers).wait(),
          runLater: start,
        });
      },
    },
  };
}

/** A sum whose inputs are computed. */
interface StartedSum {
  readonly pending: PendingSum;
  /** The inputs, then the sums, as TF_Tensors that belong to the sum. */
  readonly inputs: readonly Pointer[];
  readonly sums: readonly Pointer[];
}

/** Sums tensors over the processes as soon as they are computed. */
function startSum(
  library: TensorflowLibrary,
  context: ExecutionContext,
  exchange: LocalExchange,
  handles: readonly Pointer[],
  shapes: readonly (readonly number[])[],
): AsyncExecution {
  let started: StartedSum | null = null;
  let outcome: { readonly handles: Pointer[] } | { readonly error: Error } | null = null;
  const settle = (): { readonly handles: Pointer[] } | { readonly error: Error } => {
    try {
      started ??= startWith(library, exchange, handles, shapes);
      return { handles: finish(library, started) };
    } catch (error) {
      return { error: toError(error) };
    } finally {
      for (const tensor of [...(started?.inputs ?? []), ...(started?.sums ?? [])]) library.TF_DeleteTensor(tensor);
      started = null;
    }
  };
  const run = async (): Promise<void> => {
    // An error of a graph is found again when its results are resolved.
    await context.waitLater().catch(() => undefined);
    // A synchronous read may have waited for the sum meanwhile, and released the inputs.
    if (outcome !== null) return;
    try {
      started ??= startWith(library, exchange, handles, shapes);
    } catch (error) {
      outcome = { error: toError(error) };
      return;
    }
    await started.pending.ended;
  };
  return {
    submitted: run(),
    wait: () => {
      outcome ??= settle();
      if ('error' in outcome) throw outcome.error;
      return outcome.handles;
    },
  };
}

/** Waits for the inputs and starts to sum them. */
function startWith(
  library: TensorflowLibrary,
  exchange: LocalExchange,
  handles: readonly Pointer[],
  shapes: readonly (readonly number[])[],
): StartedSum {
  const inputs: Pointer[] = [];
  const sums: Pointer[] = [];
  const status = new Status(library);
  const memoryOf = (tensor: Pointer): { readonly address: bigint; readonly bytes: number } => ({
    address: library.TF_TensorData(tensor),
    bytes: library.TF_TensorByteSize(tensor),
  });
  try {
    for (const handle of handles) {
      const tensor = library.TFE_TensorHandleResolve(handle, status.pointer);
      status.check();
      inputs.push(tensor);
    }
    inputs.forEach((input, index) =>
      sums.push(allocate(library, 'float32', shapes[index] ?? [], library.TF_TensorByteSize(input))),
    );
    return { inputs, sums, pending: exchange.start(inputs.map(memoryOf), sums.map(memoryOf)) };
  } catch (error) {
    for (const tensor of [...inputs, ...sums]) library.TF_DeleteTensor(tensor);
    throw error;
  } finally {
    status.dispose();
  }
}

/** Waits for a sum and returns the handles of its results: the sums, and the seconds. */
function finish(library: TensorflowLibrary, { pending, sums }: StartedSum): Pointer[] {
  const seconds = pending.wait();
  const status = new Status(library);
  try {
    const results = sums.map((tensor) => {
      const handle = library.TFE_NewTensorHandle(tensor, status.pointer);
      status.check('Adopting a sum');
      return handle;
    });
    return [...results, upload(library, status, 'float32', [], Float32Array.of(seconds))];
  } finally {
    status.dispose();
  }
}
