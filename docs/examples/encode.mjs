// Images to codes in JavaScript, in a browser or in Node: npm install onnxruntime-web
//
//   node encode.mjs encode.onnx images.f32 28 28 1 codes.i32
//
// images.f32 holds float32 pixels in [0, 1], image after image, row after row.
import { readFileSync, writeFileSync } from "node:fs";
import * as ort from "onnxruntime-web";

const [model, imagesFile, height, width, channels, codesFile] = process.argv.slice(2);
const shape = [height, width, channels].map(Number);
const pixels = new Float32Array(new Uint8Array(readFileSync(imagesFile)).buffer);
const count = pixels.length / shape.reduce((a, b) => a * b);

const session = await ort.InferenceSession.create(readFileSync(model));
const inputs = new ort.Tensor("float32", pixels, [count, ...shape]);
const answers = await session.run({ inputs });
const [name] = session.outputNames; // codes, or latents of a model without a codebook
writeFileSync(codesFile, answers[name].data);
console.log(`${count} images -> ${name} of shape ${answers[name].dims}`);
