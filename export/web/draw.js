// A drawing by mouse, finger, pen or keys: strokes on a white square, with undo.

const STROKE = 0.075; // Of the side, about as thick as a printed letter's.
const KEY_STEP = 0.04;
const INK = '#151515';
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Strokes on a canvas, points in [0, 1]. Arrow keys move a pen, Space puts it down and lifts it. */
export class Drawing {
  #strokes = [];
  #pointer = null;
  #pen = { x: 0.5, y: 0.5, down: false };

  /**
   * @param {HTMLCanvasElement} canvas square, focusable.
   * @param {function(string)} changed is called after every change, with what the keys did or ''.
   */
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.changed = changed;
    canvas.addEventListener('pointerdown', (event) => this.#start(event));
    canvas.addEventListener('pointermove', (event) => this.#move(event));
    for (const type of ['pointerup', 'pointercancel']) canvas.addEventListener(type, (event) => this.#stop(event));
    canvas.addEventListener('keydown', (event) => this.#key(event));
    for (const type of ['focus', 'blur']) canvas.addEventListener(type, () => this.#paint());
    this.clear();
  }

  get isEmpty() {
    return this.#strokes.length === 0;
  }

  undo() {
    this.#strokes.pop();
    this.#liftPen();
    this.#paint();
    this.changed('');
  }

  clear() {
    this.#strokes = [];
    this.#pen = { x: 0.5, y: 0.5, down: false };
    this.#paint();
    this.changed('');
  }

  /** A canvas with the strokes alone, without the keyboard's pen. */
  picture() {
    const copy = document.createElement('canvas');
    [copy.width, copy.height] = [this.canvas.width, this.canvas.height];
    paintStrokes(copy, this.#strokes);
    return copy;
  }

  #start(event) {
    if (this.#pointer !== null || event.button !== 0) return;
    this.#liftPen();
    this.#pointer = event.pointerId;
    this.canvas.setPointerCapture(event.pointerId);
    this.#strokes.push([this.#point(event)]);
    this.#paint();
    this.changed('');
  }

  #move(event) {
    if (event.pointerId !== this.#pointer) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const one of events.length ? events : [event]) this.#strokes.at(-1).push(this.#point(one));
    this.#paint();
  }

  #stop(event) {
    if (event.pointerId === this.#pointer) this.#pointer = null;
  }

  #key(event) {
    const pen = this.#pen;
    if (event.key === ' ') {
      pen.down = !pen.down;
      if (pen.down) this.#strokes.push([{ x: pen.x, y: pen.y }]);
    } else if (event.key in ARROWS) {
      const [across, down] = ARROWS[event.key];
      pen.x = Math.min(1, Math.max(0, pen.x + across * KEY_STEP));
      pen.y = Math.min(1, Math.max(0, pen.y + down * KEY_STEP));
      if (pen.down) this.#strokes.at(-1).push({ x: pen.x, y: pen.y });
    } else {
      return;
    }
    event.preventDefault();
    this.#paint();
    const place = `${Math.round(pen.x * 100)} % across, ${Math.round(pen.y * 100)} % down`;
    this.changed(`Pen ${pen.down ? 'down' : 'up'}, ${place}`);
  }

  #liftPen() {
    this.#pen.down = false;
  }

  #point(event) {
    const box = this.canvas.getBoundingClientRect();
    return { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height };
  }

  #paint() {
    paintStrokes(this.canvas, this.#strokes);
    // The pen shows for keys only; a mouse has its own pointer.
    if (this.canvas.matches(':focus-visible')) paintPen(this.canvas, this.#pen);
  }
}

function paintStrokes(canvas, strokes) {
  const side = canvas.width;
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.fillStyle = 'white';
  context.fillRect(0, 0, side, side);
  context.strokeStyle = INK;
  context.lineWidth = STROKE * side;
  context.lineCap = context.lineJoin = 'round';
  for (const [first, ...rest] of strokes) {
    context.beginPath();
    context.moveTo(first.x * side, first.y * side);
    // A line to where it started makes a tap a dot.
    for (const point of rest.length ? rest : [first]) context.lineTo(point.x * side, point.y * side);
    context.stroke();
  }
}

function paintPen(canvas, { x, y, down }) {
  const side = canvas.width;
  const context = canvas.getContext('2d');
  context.beginPath();
  context.arc(x * side, y * side, (STROKE / 2) * side, 0, 2 * Math.PI);
  context.lineWidth = 3;
  context.strokeStyle = '#3b5bdb';
  context.stroke();
  if (down) {
    context.fillStyle = '#3b5bdb';
    context.fill();
  }
}
