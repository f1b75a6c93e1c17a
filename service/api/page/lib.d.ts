// What the scripts of the page use of Preact, htm and ECharts.

export type Node = any;
export function html(parts: TemplateStringsArray, ...values: any[]): Node;
export function render(node: Node, parent: Element): void;
export class Component<P = any, S = any> {
  props: P;
  state: S;
  constructor(props?: P);
  setState(change: Partial<S>): void;
  render(props: P, state: S): Node;
}
export function useState<T>(initial: T | (() => T)): [T, (next: T | ((before: T) => T)) => void];
export function useReducer<T, A>(reducer: (state: T, action: A) => T, initial: T): [T, (action: A) => void];
export function useEffect(effect: () => void | (() => void), inputs?: unknown[]): void;
export function useLayoutEffect(effect: () => void | (() => void), inputs?: unknown[]): void;
export function useMemo<T>(compute: () => T, inputs: unknown[]): T;
export function useRef<T>(initial: T): { current: T };

export interface EChart {
  setOption(option: any, settings?: any): void;
  resize(size?: any): void;
  dispose(): void;
  on(event: string, listener: (event: any) => void): void;
  off(event: string): void;
  dispatchAction(action: any): void;
  getDataURL(settings: any): string;
  getOption(): any;
  renderToSVGString(): string;
  convertFromPixel(finder: any, point: number[]): number[];
  getModel(): any;
  getZr(): any;
}
export function echarts(): Promise<{ init(element: Element | null, theme: any, settings: any): EChart; graphic: any }>;
