"""`inner`: njit for functions that only compiled code calls.

Numba makes every compiled function callable from Python: two wrappers, a full optimisation and machine
code of its own. A hundred small functions that end up inlined in one kernel need none of that. `inner`
keeps them as LLVM's intermediate code, to be optimised once, where they are used; the kernel then compiles
in less than half the time.
"""

from __future__ import annotations

from typing import Any

from numba import njit
from numba.core.compiler import CompilerBase, DefaultPassBuilder, _LowerResult
from numba.core.compiler_machinery import LoweringPass, register_pass
from numba.core.funcdesc import PythonFunctionDescriptor
from numba.core.lowering import Lower
from numba.core.typed_passes import NativeLowering

__all__ = ["INLINED", "inner", "inner_inlined"]


@register_pass(mutates_CFG=True, analysis_only=False)
class _LowerOnly(LoweringPass):
    """`numba.core.typed_passes.NativeLowering` without what comes after the lowering."""

    _name = "scratchnn_lower_only"

    def __init__(self) -> None:
        LoweringPass.__init__(self)

    def run_pass(self, state: Any) -> bool:
        context, flags = state.targetctx, state.flags
        library = context.codegen().create_library(state.func_id.func_qualname)
        library.enable_object_caching()

        def finalize_final_module() -> None:
            library._finalize_dynamic_globals()
            library._finalized = True

        library._optimize_final_module = lambda: None
        library._finalize_final_module = finalize_final_module
        state.library = library
        description = PythonFunctionDescriptor.from_specialized_function(
            state.func_ir, state.typemap, state.return_type, state.calltypes, mangler=context.mangler,
            inline=flags.forceinline, noalias=flags.noalias, abi_tags=[flags.get_mangle_string()],
        )  # fmt: skip
        with context.push_code_library(library):
            lower = Lower(context, library, description, state.func_ir, metadata=state.metadata)
            lower.lower()
        # What stands for the Python callable must be a built-in of its own; nobody calls it.
        handle = [].append  # type: ignore[var-annotated]
        context.insert_user_function(handle, description, [library])
        state["cr"] = _LowerResult(description, lower.call_helper, cfunc=handle, env=lower.env)
        return True


class _InnerCompiler(CompilerBase):
    def define_pipelines(self) -> list[Any]:
        pipeline = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes = [
            (_LowerOnly if step is NativeLowering else step, description)
            for step, description in pipeline.passes
        ]
        lowered = type(pipeline)("inner")
        for step, description in passes:
            lowered.add_pass(step, description)
        lowered.finalize()
        return [lowered]


OPTIONS: dict[str, Any] = {
    "error_model": "numpy",
    "pipeline_class": _InnerCompiler,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}
INLINED = {**OPTIONS, "forceinline": True}
inner, inner_inlined = njit(**OPTIONS), njit(**INLINED)
