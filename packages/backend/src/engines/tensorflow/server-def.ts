import { integerField, messageField } from './config-proto.js';

/** A cluster and one of its processes, for TensorFlow's server. */
export interface ServerDefinition {
  /** `host:port` of every task's gRPC server, by rank. */
  readonly addresses: readonly string[];
  readonly rank: number;
  /** Present if all processes are on this machine. TensorFlow's server is then not started. */
  readonly local?: { readonly secret: string; readonly timeoutSeconds: number };
}

const utf8 = new TextEncoder();
const textField = (field: number, value: string): number[] => messageField(field, [...utf8.encode(value)]);

/** The job of all tasks, independent of their types in TF_CONFIG. */
const JOB = 'worker';

/**
 * Returns the bytes of a ServerDef (tensorflow/core/protobuf/tensorflow_server.proto, cluster.proto, config.proto).
 * Its first task leads the collectives.
 */
export function encodeServerDef({ addresses, rank }: ServerDefinition): Uint8Array {
  const tasks = addresses.flatMap((address, index) =>
    messageField(2, [...integerField(1, index), ...textField(2, address)]),
  );
  const job = messageField(1, [...textField(1, JOB), ...tasks]);
  const experimental = messageField(16, textField(1, `/job:${JOB}/replica:0/task:0`));
  return Uint8Array.from([
    ...messageField(1, job),
    ...textField(2, JOB),
    ...integerField(3, rank),
    ...messageField(4, experimental),
    ...textField(5, 'grpc'),
  ]);
}
