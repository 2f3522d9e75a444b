import { WhetstoneError } from '@whetstone/core/contract';
import type { EngineCollective } from '../engine.js';
import type { Pointer, TensorflowLibrary } from './library.js';
import { encodeServerDef, type ServerDefinition } from './server-def.js';
import { Status } from './status.js';

const ABORTED = 10;

/**
 * Starts TensorFlow's gRPC server in this process, as a task of the cluster. Call it before the context computes
 * anything. The other tasks may start later: the first collective operation waits for them.
 *
 * @throws `BACKEND_UNAVAILABLE` if the port is in use, or if this build of TensorFlow has no collective runtime
 */
export function joinCluster(library: TensorflowLibrary, context: Pointer, server: ServerDefinition): EngineCollective {
  const { collective } = library;
  if (collective === null)
    throw new WhetstoneError(
      'BACKEND_UNAVAILABLE',
      `TensorFlow ${library.version} has no collective runtime: several processes cannot train together.`,
    );
  const status = new Status(library);
  const bytes = encodeServerDef(server);
  collective.TFE_EnableCollectiveOps(context, bytes, bytes.length, status.pointer);
  if (status.failed) {
    const cause = status.error('Joining the cluster');
    throw new WhetstoneError(
      'BACKEND_UNAVAILABLE',
      `TensorFlow's server at ${server.addresses[server.rank] ?? 'no address'} could not start: ${cause.message}`,
      { cause, hint: 'Check that no other process uses the port.' },
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
