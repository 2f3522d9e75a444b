import type { Hlo, ModuleBuilder } from '../engines/xla/stablehlo/builder.js';

/**
 * Cross-entropy of each row against one class, and softmax − one-hot, in as few passes over the logits as XLA fuses them into: the target's
 * place is found by comparing with a running number, so that nothing is scattered.
 */
export function lowerSparseCrossEntropy(b: ModuleBuilder, [logits, targets]: readonly Hlo[]): readonly Hlo[] {
  const x = logits as Hlo;
  const rowsOnly = (row: Hlo): Hlo => b.place(row, x.shape, [0]);
  const hit = b.compare('EQ', rowsOnly(targets as Hlo), b.iota(x.shape, 1));
  const largest = b.reduce('maximum', x, [1], -Infinity);
  const shifted = b.binary('subtract', x, rowsOnly(largest));
  const exponentials = b.unary('exponential', shifted);
  const total = b.reduce('add', exponentials, [1], 0);
  const chosen = b.reduce('add', b.select(hit, shifted, b.splat('float32', x.shape, 0)), [1], 0);
  const gradient = b.binary('subtract', b.binary('divide', exponentials, rowsOnly(total)), b.convert(hit, 'float32'));
  return [b.binary('subtract', b.unary('log', total), chosen), gradient];
}
