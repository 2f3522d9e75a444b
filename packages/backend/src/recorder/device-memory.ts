import type { Engine, EngineTensor } from '../engines/engine.js';
import type { Value } from './value.js';

interface Held {
  readonly tensor: EngineTensor;
  readonly bytes: number;
}

/** Which value owns which device tensor, and how many bytes that comes to. */
export class DeviceMemory {
  bytes = 0;
  peakBytes = 0;
  hostToDeviceBytes = 0;
  /** The net under values that nobody disposed: when JavaScript forgets one, its tensor is freed. */
  private readonly net: FinalizationRegistry<Held>;

  /** @param onForgotten told of each value that nobody disposed */
  constructor(
    private readonly engine: Engine,
    onForgotten: () => void,
  ) {
    this.net = new FinalizationRegistry((held) => {
      this.free(held);
      onForgotten();
    });
  }

  adopt(value: Value, tensor: EngineTensor): void {
    value.tensor = tensor;
    this.bytes += value.bytes;
    if (this.bytes > this.peakBytes) this.peakBytes = this.bytes;
    this.net.register(value, { tensor, bytes: value.bytes }, value);
  }

  /** The same for a tensor that was made of host memory. */
  adoptUploaded(value: Value, tensor: EngineTensor): void {
    this.adopt(value, tensor);
    this.hostToDeviceBytes += value.bytes;
  }

  release(value: Value): void {
    if (value.tensor === null) return;
    this.net.unregister(value);
    this.free({ tensor: value.tensor, bytes: value.bytes });
    value.tensor = null;
  }

  private free(held: Held): void {
    this.engine.release(held.tensor);
    this.bytes -= held.bytes;
  }
}
