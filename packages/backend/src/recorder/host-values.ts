import type { BackendValues } from '@tensorflow/tfjs-core';

/** Numbers are given away as copies: whoever reads them may change them. */
export const copied = (values: BackendValues): BackendValues => (ArrayBuffer.isView(values) ? values.slice() : values);
