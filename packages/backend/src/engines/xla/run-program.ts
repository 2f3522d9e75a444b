import type { LoadedExecutable, XlaClient } from './client.js';
import type { DeviceTensor, DeviceTensors } from './device-tensors.js';
import type { LoweredProgram } from './lowered-program.js';
import type { Pointer } from './pjrt.js';

/** One run of a program. */
export interface ProgramRun {
  readonly inputs: readonly DeviceTensor[];
  readonly outputs: readonly DeviceTensor[];
  /** Inputs that are not needed afterwards: results may reuse their memory. */
  readonly spent: ReadonlySet<number>;
  /** The device, or all of them with one execution each. A module for several replicas always runs on all devices. */
  readonly device: number | 'all';
  /** Begins the message of an error. */
  readonly subject: string;
}

/** Queues all segments of a program on the device and sets the buffers of the outputs. */
export function runProgram(
  client: XlaClient,
  tensors: DeviceTensors,
  { segments, modules, resultNumbers }: LoweredProgram,
  { inputs, outputs, spent, device, subject }: ProgramRun,
): void {
  const replicated: boolean = modules.some(({ lowered }) => lowered.replicas > 1);
  const devices = replicated || device === 'all' ? Array.from({ length: tensors.devices }, (_, on) => on) : [device];
  /** Results of earlier segments by number, with one buffer per device. */
  const computed = new Map<number, (Pointer | null)[]>();
  const inputAt = (number: number): DeviceTensor => inputs[number] as DeviceTensor;
  const isComputed = (number: number): boolean => number >= inputs.length;
  // An input with other users, such as a pending read or queued work, must keep its memory.
  const isSpent = (number: number): boolean => isComputed(number) || (spent.has(number) && inputAt(number).uses === 1);
  const buffersOf = (number: number): (Pointer | null)[] => computed.get(number) ?? inputAt(number).buffers;
  const bufferOn = (number: number, on: number): Pointer =>
    (isComputed(number) ? buffersOf(number)[on] : null) ?? tensors.bufferOn(inputAt(number), on);
  const release = (number: number): void => {
    for (const buffer of computed.get(number) ?? []) if (buffer !== null) client.release(buffer);
    computed.delete(number);
  };
  try {
    for (const { module, inputs: numbers, outputs: results, spent: unneeded } of segments) {
      const { arguments: args, shards, donated } = module.lowered;
      const loaded = module.loaded as LoadedExecutable;
      const numberOn = (input: number, on: number): number => numbers[shards.get(input)?.[on] ?? input] as number;
      const mayDonate = (input: number): boolean => devices.every((on) => isSpent(numberOn(input, on)));
      const donatable = (donates: boolean): number[] =>
        args.flatMap((input, position) => (donated.has(input) && mayDonate(input) === donates ? [position] : []));
      const donation = { retained: donatable(false), donated: donatable(true) };
      // All copies come before the first execution, which may overwrite the memory of an input.
      const lists = devices.map((on) => args.map((input) => bufferOn(numberOn(input, on), on)));
      results.forEach((number) =>
        computed.set(
          number,
          Array.from({ length: tensors.devices }, () => null),
        ),
      );
      const store = (on: number, list: readonly Pointer[] = []): void => {
        // The client releases the handles of donated buffers.
        for (const position of donation.donated) buffersOf(numberOn(args[position] as number, on))[on] = null;
        results.forEach((number, position) => (buffersOf(number)[on] = list[position] ?? null));
      };
      // Replicas are one execution on all devices. Other modules are executed once per device.
      if (replicated)
        client.execute(loaded, lists, donation, subject).forEach((list, index) => store(devices[index] ?? 0, list));
      else
        devices.forEach((on, index) =>
          store(
            on,
            client.execute(loaded, [lists[index] ?? []], donation, subject, tensors.devices > 1 ? on : null)[0],
          ),
        );
      unneeded.forEach(release);
    }
    resultNumbers.forEach((number, position) => {
      for (const on of devices) (outputs[position] as DeviceTensor).buffers[on] = buffersOf(number)[on] ?? null;
      computed.delete(number);
    });
  } finally {
    for (const number of computed.keys()) release(number);
  }
}
