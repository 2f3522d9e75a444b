// Writes kernels.json: the types that the kernels of @tensorflow/tfjs-node accept. The types come from TensorFlow's own
// registries of operations and of CPU kernels, which its C API returns; the operation of each kernel, and which input
// goes where, come from the code of tfjs-node.
// `node make.mjs FOLDER`: FOLDER holds the unpacked npm package @tensorflow/tfjs-node. Needs the built packages and
// the library of `whetstone backend install cpu`.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { findTensorflow } from '@whetstone/backend/install';
import koffi from 'koffi';

/** The types of tfjs-core by their number in TensorFlow's DataType. */
const types = new Map([
  [1, 'float32'],
  [3, 'int32'],
  [7, 'string'],
  [8, 'complex64'],
  [10, 'bool'],
]);

/** The fields of a protocol buffer: numbers as numbers, everything else as bytes. */
function fields(bytes) {
  const found = [];
  let at = 0;
  const varint = () => {
    let [value, factor] = [0, 1];
    for (;;) {
      const byte = bytes[at++];
      value += (byte & 127) * factor;
      if (byte < 128) return value;
      factor *= 128;
    }
  };
  while (at < bytes.length) {
    const key = varint();
    const [number, kind] = [key >>> 3, key & 7];
    if (kind === 0) found.push([number, varint()]);
    else if (kind === 2) {
      const length = varint();
      found.push([number, bytes.subarray(at, at + length)]);
      at += length;
    } else {
      at += kind === 1 ? 8 : 4;
    }
  }
  return found;
}
const all = (message, number) => message.filter(([key]) => key === number).map(([, value]) => value);
const text = (message, number) => new TextDecoder().decode(all(message, number)[0] ?? new Uint8Array());
/** The types in an AttrValue with a list (field 1) of types (field 6, packed or not). */
function typesOfAttribute(value) {
  return all(fields(value), 1).flatMap((list) =>
    all(fields(list), 6).flatMap((entry) => (typeof entry === 'number' ? [entry] : [...entry])),
  );
}

const library = await findTensorflow();
if ('reasons' in library) throw new Error(library.reasons.join('; '));
koffi.load(join(library.folder, 'libtensorflow_framework.so.2'), { lazy: true, global: true });
const native = koffi.load(join(library.folder, 'libtensorflow_cc.so.2'), { lazy: true, global: true });
koffi.struct('TF_Buffer', { data: 'void *', length: 'size_t', deallocator: 'void *' });
function bytesOf(pointer) {
  const buffer = koffi.decode(pointer, 'TF_Buffer');
  return new Uint8Array(koffi.decode(buffer.data, koffi.array('uint8_t', Number(buffer.length))));
}
const status = native.func('void *TF_NewStatus()')();
const operations = new Map(
  all(fields(bytesOf(native.func('void *TF_GetAllOpList()')())), 1).map((bytes) => {
    const operation = fields(bytes);
    return [
      text(operation, 1),
      {
        inputs: all(operation, 2).map((input) => {
          const argument = fields(input);
          return { type: all(argument, 3)[0] ?? null, attribute: text(argument, 4) };
        }),
        attributes: new Map(
          all(operation, 4).map((attribute) => {
            const definition = fields(attribute);
            return [text(definition, 1), all(definition, 7).flatMap(typesOfAttribute)];
          }),
        ),
      },
    ];
  }),
);
const kernelsOf = new Map();
const kernelList = native.func('void *TF_GetAllRegisteredKernels(void *status)')(status);
for (const bytes of all(fields(bytesOf(kernelList)), 1)) {
  const kernel = fields(bytes);
  if (!['CPU', 'DEFAULT'].includes(text(kernel, 2))) continue;
  const constraints = new Map(
    all(kernel, 3).map((constraint) => {
      const definition = fields(constraint);
      return [text(definition, 1), typesOfAttribute(all(definition, 2)[0])];
    }),
  );
  const name = text(kernel, 1);
  kernelsOf.set(name, [...(kernelsOf.get(name) ?? []), constraints]);
}

/** The types of tfjs-core with which a type attribute of an operation has a kernel. */
function acceptedTypes(name, attribute) {
  const allowed = operations.get(name).attributes.get(attribute) ?? [];
  return [...types].flatMap(([number, type]) => {
    if (allowed.length > 0 && !allowed.includes(number)) return [];
    const has = (kernelsOf.get(name) ?? []).some((constraints) => constraints.get(attribute)?.includes(number) ?? true);
    return has ? [type] : [];
  });
}

// Kernels whose code does not name operation and inputs in one call, from reading it: the operation and its inputs,
// `*` for a list. `more`: types that the kernel converts first. `mixed`: it converts the inputs to one type.
const read = {
  Abs: { operation: 'Abs', inputs: ['x'], more: ['complex64'] },
  AddN: { operation: 'AddN', inputs: ['*'] },
  ArgMax: { operation: 'ArgMax', inputs: ['x'], more: ['bool'] },
  ArgMin: { operation: 'ArgMin', inputs: ['x'], more: ['bool'] },
  ClipByValue: { operation: 'Maximum', inputs: ['x'] },
  Complex: { operation: 'Complex', inputs: ['real', 'imag'] },
  Concat: { operation: 'ConcatV2', inputs: ['*'] },
  Einsum: { operation: 'Einsum', inputs: ['*'] },
  Exp: { operation: 'Exp', inputs: ['x'], more: ['int32'] },
  Imag: { operation: 'Imag', inputs: ['input'] },
  // It converts its input to float32 and names the type of the input, so that another type is refused.
  Mean: { operation: 'Mean', inputs: ['x'], only: ['float32'] },
  Pack: { operation: 'Pack', inputs: ['*'] },
  Pow: { operation: 'Pow', inputs: ['a', 'b'], mixed: true },
  Real: { operation: 'Real', inputs: ['input'] },
  SplitV: { operation: 'SplitV', inputs: ['x'] },
  Step: { operation: 'IsNan', inputs: ['x'] },
  Unique: { operation: 'UniqueV2', inputs: ['x'] },
  _FusedMatMul: { operation: 'BatchMatMulV2', inputs: ['a', 'b'] },
};

const folder = join(process.argv[2], 'dist/kernels');
const kernels = {};
const unread = [];
for (const file of readdirSync(folder).filter((name) => /^[\w]+\.js$/.test(name)).toSorted()) {
  const code = readFileSync(join(folder, file), 'utf8');
  const [, constant, literal] = /kernelName: (?:tfjs\w*\.(\w+)|'(\w+)')/.exec(code) ?? [];
  const kernel = literal ?? tf[constant];
  const call =
    /execute(?:SingleOutput|SingleInput|MultipleOutputs)\((?:tfjs\w*\.(\w+)|'(\w+)'), ([^;]*?)\)(?:\[0\])?;/s.exec(code);
  const operation = read[kernel]?.operation ?? call?.[2] ?? (call?.[1] === undefined ? undefined : tf[call[1]]);
  const listed =
    read[kernel]?.inputs ??
    (call === null
      ? []
      : (/\[([^[\]]*)\][^[\]]*$/.exec(call[3])?.[1] ?? call[3]).split(',').map((word) => word.trim()));
  // Variables that hold an input of the kernel, by name.
  const inputs = new Map([...code.matchAll(/(\w+) = (?:_\w|args\.inputs|inputs)\.(\w+)/g)].map(([, to, name]) => [to, name]));
  const definition = operations.get(operation);
  const placed = listed.flatMap((name, index) =>
    name === '*' || inputs.has(name) || read[kernel] !== undefined
      ? [{ name: name === '*' ? '*' : (inputs.get(name) ?? name), argument: definition?.inputs[index] }]
      : [],
  );
  if (definition === undefined || placed.length === 0 || placed.some(({ argument }) => argument === undefined)) {
    unread.push(kernel);
    kernels[kernel] = { inputs: {} };
    continue;
  }
  const { more = [], only, mixed = false } = read[kernel] ?? {};
  const rule = { operation, inputs: {} };
  for (const { name, argument } of placed) {
    const accepted =
      argument.type === null ? acceptedTypes(operation, argument.attribute) : [types.get(argument.type)];
    rule.inputs[name] = {
      // Inputs with the same attribute have the same type.
      ...(argument.type === null && !mixed ? { attribute: argument.attribute } : {}),
      types: only ?? [...new Set([...accepted, ...more])],
    };
  }
  kernels[kernel] = rule;
}
console.log(`${Object.keys(kernels).length} kernels; without a rule: ${unread.join(', ')}`);
const target = new URL('kernels.json', import.meta.url);
writeFileSync(target, `${JSON.stringify({ tensorflow: library.version, 'tfjs-node': '4.22.0', kernels }, null, 1)}\n`);
// TensorFlow's exit handlers crash without a context.
process.kill(process.pid, 'SIGKILL');
