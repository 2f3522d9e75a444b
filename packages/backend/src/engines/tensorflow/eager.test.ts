import { expect, test } from 'vitest';
import type { Kernel } from '../../kernels/kernel.js';
import type { Program } from '../../recorder/program.js';
import { libraryFolder } from '../../test-support.js';
import { createTensorflowEngine } from './engine.js';

test.skipIf(libraryFolder === null)(
  'a kernel that returns its operand returns a separate handle, which is not freed with the operand',
  () => {
    const engine = createTensorflowEngine({ libraryFolder: libraryFolder ?? '' });
    const double: Kernel = {
      name: 'Double',
      inputs: ['x'],
      rule: () => ({ outputs: [] }),
      tensorflow: (emit, [x]) => emit.op('AddV2', [x!, x!]),
    };
    const same: Kernel = { name: 'Same', inputs: ['x'], rule: () => ({ outputs: [] }), tensorflow: (_, [x]) => x! };
    const step = (kernel: Kernel, from: number): Program['steps'][number] => ({
      kernel,
      parameters: [],
      inputs: [from],
      tensorInputs: 1,
      firstOutput: from + 1,
      outputs: 1,
    });
    const types = ['float32', 'float32', 'float32', 'float32'] as const;
    const program: Program = {
      name: 'program',
      matmul: 'float32',
      inputTypes: ['float32'],
      steps: [step(double, 0), step(same, 1), step(same, 2)],
      types,
      outputs: [3],
    };
    const x = engine.upload('float32', [3], Float32Array.of(1, 2, 3));
    const [result = 0n] = engine.runEagerly(program, [x], () => '');
    // A handle that is freed twice would end the process.
    expect([...(engine.download(result, 'float32', 3) as Float32Array)]).toEqual([2, 4, 6]);
    engine.release(result);
    engine.release(x);
    engine.dispose();
  },
);
