import pytest
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from collections import Counter
import time
from tests.oracles_tensor_parallel import *
from hardplace.workload.torch_models import MODELS
from hardplace.workload.torch_huggingface import step_of_config, Options
from hardplace.workload.torch_layers import record_workload
from hardplace.workload.sharding import shard
from hardplace.workload.types import *

def rules(w, size, batch, sequence):
    s=shard(w, Parallelism(tensor=size, sequence=sequence))
    r=Rank()
    for i in w.order:
        l=s.layers[i]
        r.parameters.update(one.parameters for one in l.storages if one.role is StorageRole.PARAMETER)
        for o in l.operators:
            d=tuple(x.at(batch) for x in o.dims)
            if o.kind is OperatorKind.COLLECTIVE: r.collectives[o.phase.value,o.name,d[0]]+=1
            elif o.kind in (OperatorKind.MATMUL,OperatorKind.GROUPED_MATMUL,OperatorKind.ATTENTION):
                if o.kind is OperatorKind.ATTENTION: d=(d[0],d[1],d[3],d[4],d[5])
                r.products[o.phase.value,o.kind.value,d]+=1
                r.flops[o.phase.value]+=o.flops.at(batch)
    return r
if __name__=="__main__":
    import sys
    for name in sys.argv[1:]:
        f=dict(MODELS[name].config, num_hidden_layers=2)
        w=record_workload(step_of_config(f,name,name,Options(sequence_length=2048)))
        for merged,seq in ((False,False),(True,False),(True,True)):
            t=time.time()
            try: a=traced(f,8,2,2048,merged=merged,sequence=seq)
            except Exception as e:
                import traceback; traceback.print_exc(limit=-6); print(name,merged,seq,"FAIL",e); continue
            print(name,merged,seq,time.time()-t)
            b=rules(w,8,2,seq)
            for k in ("products","flops","collectives","parameters"):
                x,y=getattr(a,k),getattr(b,k)
                print("  ",k,x==y, "" if x==y else ("dtensor only",x-y,"rules only",y-x), "" if k!="collectives" else x)
