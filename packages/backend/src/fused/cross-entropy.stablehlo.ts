import type { Hlo, ModuleBuilder } from '../engines/xla/stablehlo/builder.js';

/**
 * Cross-entropy of each row against one class, and softmax − one-hot, in as few passes over the logits as XLA fuses
 * them into: in the gradient the target's place is found by comparing with a running number, so that nothing is
 * scattered.
 */
export function lowerSparseCrossEntropy(b: ModuleBuilder, [logits, targets]: readonly Hlo[]): readonly Hlo[] {
  // A processor goes through rows side by side faster than along each, and wide products come transposed there.
  const [classAxis, rowAxis] = b.onProcessor ? [0, 1] : [1, 0];
  const turned = (x: Hlo): Hlo => (b.onProcessor ? b.transpose(x, [1, 0]) : x);
  const x = turned(logits as Hlo);
  const target = targets as Hlo;
  const perRow = (row: Hlo): Hlo => b.place(row, x.shape, [rowAxis]);
  const places = [b.reshape(target, [...target.shape, 1]), b.reshape(b.iota(target.shape, 0), [...target.shape, 1])];
  const largest = b.reduce('maximum', x, [classAxis], -Infinity);
  const exponentials = b.unary('exponential', b.binary('subtract', x, perRow(largest)));
  const total = b.reduce('add', exponentials, [classAxis], 0);
  const chosen = b.op('GatherNd', [x, b.concatenate(b.onProcessor ? places : places.reverse(), 1)]);
  const hit = b.compare('EQ', perRow(target), b.iota(x.shape, classAxis));
  const gradient = b.binary('subtract', b.binary('divide', exponentials, perRow(total)), b.convert(hit, 'float32'));
  return [b.binary('subtract', b.unary('log', total), b.binary('subtract', chosen, largest)), turned(gradient)];
}
