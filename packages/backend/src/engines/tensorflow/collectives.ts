import { WhetstoneError } from '@whetstone/core/contract';
import type { EngineCollective } from '../engine.js';
import type { Pointer, TensorflowLibrary } from './library.js';
import { encodeServerDef, type ServerDefinition } from './server-def.js';
import { Status } from './status.js';

const ABORTED = 10;

/**
 * Starts TensorFlow's gRPC server of this process and makes it a task of the cluster. To be called before anything is
 * computed in the context. The other tasks need not be there yet: the first collective operation waits for them.
 *
 * @throws `BACKEND_UNAVAILABLE` where the port is taken or this build of TensorFlow has no collective runtime
 */
export function joinCluster(library: TensorflowLibrary, context: Pointer, server: ServerDefinition): EngineCollective {
  const { collective } = library;
  if (collective === null)
    throw new WhetstoneError(
      'BACKEND_UNAVAILABLE',
      `TensorFlow ${library.version} comes without its collective runtime: several processes cannot train together.`,
    );
  const status = new Status(library);
  const bytes = encodeServerDef(server);
  collective.TFE_EnableCollectiveOps(context, bytes, bytes.length, status.pointer);
  if (status.failed) {
    const cause = status.error('Joining the cluster');
    throw new WhetstoneError(
      'BACKEND_UNAVAILABLE',
      `TensorFlow's server at ${server.addresses[server.rank] ?? 'no address'} cannot start: ${cause.message}`,
      { cause, hint: 'Is the port taken?' },
    );
  }
  status.dispose();
  return {
    addresses: server.addresses,
    rank: server.rank,
    abort: (reason) => {
      const own = new Status(library);
      collective.TF_SetStatus(own.pointer, ABORTED, reason);
      collective.TFE_AbortCollectiveOps(context, own.pointer);
      own.dispose();
    },
  };
}
